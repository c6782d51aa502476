"""Extending a host's method wherever it is defined, and being invisible where there is nothing to extend.

A plain method on a mixin would make Lightning believe that the host has that hook. These descriptors return the host's
own method untouched unless the mixin is configured, and extend a call only where the Trainer (or whoever stands
outside) enters: a ``test_step`` that calls ``validation_step`` calls the host's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import MethodType
from typing import Any

import torch

from vse_lightning.mixins.host.lightning_internals import as_compiled, running_hook

Configured = Callable[[Any], bool]
Wrapper = Callable[..., Any]


class Extension:
    """A method of the host, extended while the mixin is configured.

    Args:
        wrapper: called as ``wrapper(self, host, *args, **kwargs)`` with the host's bound method, or with ``None`` for a
            step that the host does not define (a mixin ``supplies`` it then).
        configured: whether this instance wants the extension.
        entry: for steps and hooks that a host calls from one another: within any of them all are the host's own.
        supplies: for steps: a function with the step's signature, shown to Lightning where the host has none.
        method: the host's function where the class itself defines it; ``None`` looks it up in the bases.
    """

    def __init__(
        self,
        wrapper: Wrapper,
        configured: Configured,
        *,
        entry: bool = False,
        supplies: Wrapper | None = None,
        method: Callable[..., Any] | None = None,
    ) -> None:
        self.wrapper, self.configured, self.entry = wrapper, configured, entry
        self.supplies, self.method = supplies, method

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    def around(self, method: Callable[..., Any]) -> "Extension":
        """The same extension around a method that a subclass of the mixin defines itself."""
        return Extension(self.wrapper, self.configured, entry=self.entry, supplies=self.supplies, method=method)

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self.method or getattr(super(self.owner, owner), self.name)
        own = None if self.method is None else MethodType(self.method, instance)
        host = own or getattr(super(self.owner, instance), self.name, None)
        if not self.configured(instance):
            return self._known(host, owner)
        if self.supplies is not None and (host is None or is_lightning_default(host)):
            return MethodType(self._extended(self.supplies, host, supplied=True), instance)
        host = self._known(host, owner)
        return MethodType(self._extended(getattr(host, "__func__", host), host, supplied=False), instance)

    def _known(self, host: Any, owner: type) -> Any:
        if host is None:
            raise AttributeError(f"{owner.__name__!r} object has no attribute {self.name!r}")
        return host

    def _extended(self, signature: Callable[..., Any], host: Any, *, supplied: bool) -> Callable[..., Any]:
        """The extended method, with the signature that Lightning inspects. It decides when it is called."""

        @wraps(signature)
        def extended(instance: Any, *args: Any, **kwargs: Any) -> Any:
            running: dict[str, int] = instance.__dict__.setdefault("_retrieval_running", {})  # how many calls of each
            inner = running.get(self.name, 0) > 0
            # super().training_step() of a class that overrides a step which the mixin supplies
            if (inner and supplied) or self._is_entered(instance, running):
                with _counted(running, self.name):
                    # compiled as the user had the module compiled: Lightning compiles the extended method
                    return self.wrapper(instance, None if supplied else as_compiled(instance, host), *args, **kwargs)
            return as_compiled(instance, self._known(host, type(instance)))(*args, **kwargs)

        method = uncompiled(extended)
        method.__wrapped__ = signature  # type: ignore[attr-defined]  # Lightning looks one step behind wrappers
        return method

    def _is_entered(self, instance: Any, running: dict[str, int]) -> bool:
        """Whether the call comes from outside the host's own methods."""
        if not self.entry:
            return not running.get(self.name)
        if any(count for name, count in running.items() if name in _ENTRIES):
            return False
        # the hook that Lightning is in: a callback that calls pl_module.validation_step(...) wants the host's
        return running_hook(instance) in (None, self.name)


_STAGES = ("training", "validation", "test", "predict")
_HOOKS = ("on_train", "on_validation", "on_test", "on_predict")
_ENTRIES = {f"{stage}_step" for stage in _STAGES} | {
    f"{hook}_epoch_{edge}" for hook in _HOOKS for edge in ("start", "end")
}


class HostFirst:
    """A default for a method that the host may define: the host's wins although the mixin stands before it."""

    def __init__(self, default: Callable[..., Any]) -> None:
        self.default = default
        self.__doc__ = default.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    def __get__(self, instance: Any, owner: type) -> Any:
        bound = super(self.owner, owner if instance is None else instance)
        default = self.default if instance is None else MethodType(self.default, instance)
        return getattr(bound, self.name, default)


def extend_methods_of(cls: type) -> None:
    """Put the inherited extensions around the methods that the class body itself defines."""
    for name, defined in list(vars(cls).items()):
        inherited = next((vars(base)[name] for base in cls.__mro__[1:] if name in vars(base)), None)
        if isinstance(inherited, Extension) and not isinstance(defined, Extension):
            extension = inherited.around(defined)
            extension.__set_name__(cls, name)
            setattr(cls, name, extension)


def is_lightning_default(method: Any) -> bool:
    """Whether a bound method is what LightningModule has where a host defines nothing."""
    return getattr(method, "__qualname__", "").startswith("LightningModule.")


def uncompiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """What torch.compile leaves as it is; it compiles what the host does, inside and outside."""
    disabled: Callable[..., Any] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return disabled


@contextmanager
def _counted(running: dict[str, int], name: str) -> Iterator[None]:
    running[name] = running.get(name, 0) + 1
    try:
        yield
    finally:
        running[name] -= 1
