"""Something that a metric uses but does not own."""

from __future__ import annotations

from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByReference(Generic[Value]):
    """Holds an object that a deep copy shares instead of copying: a host module's similarity, a table of labels."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, object]) -> ByReference[Value]:
        return ByReference(self.value)
