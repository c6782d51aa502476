"""Extending a host's method wherever it is defined, and being invisible where there is nothing to extend.

A plain method on a mixin would make Lightning believe that the host has that hook. These descriptors decide when the
method is looked up on an instance: the host's own method comes back untouched unless the mixin is configured.
"""

from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any

Configured = Callable[[Any], bool]
Wrapper = Callable[..., Any]


class Extension:
    """A method of the host, extended while the mixin is configured.

    Args:
        wrapper: called as ``wrapper(self, host, *args, **kwargs)`` with the host's bound method, or with ``None`` for a
            step that the host does not define (a mixin ``supplies`` it then).
        configured: whether this instance wants the extension.
        supplies: for steps: a function with the step's signature, shown to Lightning where the host has none.
        method: the host's function where the class itself defines it; ``None`` looks it up in the bases.
    """

    def __init__(
        self,
        wrapper: Wrapper,
        configured: Configured,
        supplies: Wrapper | None = None,
        method: Callable[..., Any] | None = None,
    ) -> None:
        self.wrapper, self.configured, self.supplies, self.method = wrapper, configured, supplies, method

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    def around(self, method: Callable[..., Any]) -> "Extension":
        """The same extension around a method that a subclass of the mixin defines itself."""
        return Extension(self.wrapper, self.configured, self.supplies, method)

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self.method or getattr(super(self.owner, owner), self.name)
        host = self._host(instance)
        wanted = self.configured(instance) and self.name not in _running(instance)
        if wanted and self.supplies is not None and (host is None or _is_lightning_default(host)):
            return MethodType(self._once(self.supplies, None), instance)
        if host is None:
            raise AttributeError(f"{owner.__name__!r} object has no attribute {self.name!r}")
        return MethodType(self._once(getattr(host, "__func__", host), host), instance) if wanted else host

    def _host(self, instance: Any) -> Any:
        if self.method is not None:
            return MethodType(self.method, instance)
        return getattr(super(self.owner, instance), self.name, None)

    def _once(self, signature: Callable[..., Any], host: Callable[..., Any] | None) -> Callable[..., Any]:
        """The extended method, with the signature that Lightning inspects; a ``super()`` call inside it is plain."""

        def extended(instance: Any, *args: Any, **kwargs: Any) -> Any:
            running = _running(instance)
            running.add(self.name)
            try:
                return self.wrapper(instance, host, *args, **kwargs)
            finally:
                running.discard(self.name)

        return wraps(signature)(extended)


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


def _running(instance: Any) -> set[str]:
    """Names of the extended methods that are running on the instance."""
    running: set[str] = instance.__dict__.setdefault("_extended_methods_running", set())
    return running


def _is_lightning_default(method: Any) -> bool:
    return getattr(method, "__qualname__", "").startswith("LightningModule.")
