"""Checkpoints of hosts whose constructor the mixins stand before: Lightning asks the class which arguments it takes."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import wraps
from inspect import Parameter, Signature
from typing import Any


class LoadsLikeHost:
    """``load_from_checkpoint`` of a class that shows all arguments it takes, also those that it hands on to its host.

    Lightning looks among their names for that of the hyper-parameters (``save_hyperparameters(config)``), and leaves
    out hyper-parameters that the constructor does not take. ``*args, **kwargs`` would tell it neither. What only the
    mixins and their subclasses take goes past Lightning, which would write it into the hyper-parameters.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        load = getattr(super(self.owner, owner if instance is None else instance), self.name)

        @wraps(load)
        def loads(*args: Any, **kwargs: Any) -> Any:
            guests, host = _arguments_of(owner, self.owner)
            ours = {name: value for name, value in kwargs.items() if name in guests and name not in host}
            takes_any = any(argument.kind is Parameter.VAR_KEYWORD for argument in host.values())
            unknown = {name for name in kwargs if name.startswith(("relevance_", "retrieval_"))} - {*guests, *host}
            if guests and unknown and not takes_any:  # Lightning would leave it out
                raise TypeError(f"{owner.__name__} takes no argument {unknown.pop()!r}")
            shown = _arguments_shown(owner, [*guests.values(), *host.values()], ours) if guests else nullcontext()
            with shown:
                return load(*args, **{name: value for name, value in kwargs.items() if name not in ours})

        return loads


@contextmanager
def _arguments_shown(cls: type, arguments: list[Parameter], ours: Mapping[str, Any]) -> Iterator[None]:
    """Until the class is called, its constructor shows these arguments; then it is called with ``ours`` too."""
    constructor: Any = cls.__init__  # type: ignore[misc]
    own = vars(cls).get("__init__")

    def restore() -> None:
        if own is not None:
            cls.__init__ = own  # type: ignore[misc]
        elif "__init__" in vars(cls):
            del cls.__init__  # type: ignore[misc]

    @wraps(constructor)
    def showing(self: Any, *args: Any, **kwargs: Any) -> None:
        restore()  # save_hyperparameters() looks at the constructor too, and means the local names in it
        constructor(self, *args, **{**kwargs, **ours})

    showing.__signature__ = Signature(arguments, __validate_parameters__=False)  # type: ignore[attr-defined]
    cls.__init__ = showing  # type: ignore[misc]
    try:
        yield
    finally:
        restore()


def _arguments_of(cls: type, mixins: type) -> tuple[dict[str, Parameter], dict[str, Parameter]]:
    """The arguments of the mixins and their subclasses that hand on further ones, and those of the host behind them."""
    guests: dict[str, Parameter] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base):
            own = dict(inspect.signature(vars(base)["__init__"]).parameters)
            hands_on = any(argument.kind is Parameter.VAR_KEYWORD for argument in own.values())
            if not (hands_on and issubclass(base, mixins)):
                return guests, own
            rest = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
            guests |= {name: argument for name, argument in own.items() if argument.kind not in rest}
    return guests, {}
