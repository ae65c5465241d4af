"""Hooks as the core calls them: frozen tuples of functions, in four disciplines.

``first`` takes the first answer, ``every`` collects all, ``fold`` hands a value through, ``notify``
tells everybody. An implementation that decides (``first``, ``every``) and raises anything but a
`MeshError` ends the call as a `PluginError` that names it; one that observes (``fold``, ``notify``) is
counted, named in the log once, and skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any

from mesh_store.model.errors import MeshError, PluginError

log = logging.getLogger("mesh.plugins")

#: A plugin's name, its function, and the names of the arguments it asks for.
Implementation = tuple[str, Callable[..., Any], tuple[str, ...]]


class Hook:
    """The frozen implementations of one hook, first to be asked first.

    Attributes:
        name: the hook's name.
        failures: how often an implementation raised what it should not.
    """

    __slots__ = ("_callers", "failures", "name")

    def __init__(self, name: str, implementations: Iterable[Implementation] = ()) -> None:
        self.name = name
        self.failures = 0
        self._callers = tuple((plugin, call, _picking(names)) for plugin, call, names in implementations)

    @property
    def sole(self) -> Callable[..., Any] | None:
        """The implementation, where there is exactly one."""
        return self._callers[0][1] if len(self._callers) == 1 else None

    def first(self, **arguments: Any) -> Any:
        """Return the first answer that is not None, or None."""
        for plugin, function, pick in self._callers:
            try:
                result = function(*pick(arguments))
            except MeshError:
                raise
            except Exception as error:
                raise self._failed(plugin, error) from error
            if result is not None:
                return result
        return None

    def first_sound(self, sound: Callable[[Any], bool], **arguments: Any) -> Any:
        """Like `first`, where the call must not end any more: what fails or answers nonsense is skipped.

        Args:
            sound: tells whether an answer may be used; None needs not be asked about.
            arguments: what the implementations are given.
        """
        for plugin, function, pick in self._callers:
            try:
                result = function(*pick(arguments))
                if result is not None and not sound(result):
                    raise TypeError(f"answered {result!r}")
            except Exception as error:
                self._observer_failed(plugin, error)
            else:
                if result is not None:
                    return result
        return None

    def every(self, **arguments: Any) -> list[Any]:
        """Return every answer that is not None; an exception ends the call."""
        results = []
        for plugin, function, pick in self._callers:
            try:
                result = function(*pick(arguments))
            except MeshError:
                raise
            except Exception as error:
                raise self._failed(plugin, error) from error
            if result is not None:
                results.append(result)
        return results

    def fold(self, argument: str, value: Any, **arguments: Any) -> Any:
        """Hand ``value`` from one implementation to the next; one that fails is counted and skipped."""
        for plugin, function, pick in self._callers:
            try:
                result = function(*pick({**arguments, argument: value}))
                if result is not None and type(result) is not type(value):
                    raise TypeError(f"answered a {type(result).__name__}, not a {type(value).__name__}")
            except Exception as error:
                self._observer_failed(plugin, error)
            else:
                value = value if result is None else result
        return value

    def fold_or_drop(self, argument: str, value: Any, **arguments: Any) -> Any:
        """Like `fold`, for what must not go on unless every implementation agreed: one that fails drops it.

        Returns:
            The value, or None when it was dropped.
        """
        for plugin, function, pick in self._callers:
            try:
                result = function(*pick({**arguments, argument: value}))
                if result is not None and type(result) is not type(value):
                    raise TypeError(f"answered a {type(result).__name__}, not a {type(value).__name__}")
            except Exception as error:
                self._observer_failed(plugin, error)
                return None
            value = value if result is None else result
        return value

    def notify(self, **arguments: Any) -> None:
        """Tell everybody; one that fails is counted and does not stop the others."""
        for plugin, function, pick in self._callers:
            try:
                function(*pick(arguments))
            except Exception as error:
                self._observer_failed(plugin, error)

    def _failed(self, plugin: str, error: Exception) -> PluginError:
        """Return what a call ends with when an implementation that decides has raised ``error``."""
        return PluginError(
            f"plugin {plugin!r} failed in {self.name}: {type(error).__name__}: {error}; "
            "fix the plugin or take it out of MESH_PLUGINS"
        )

    def _observer_failed(self, plugin: str, error: Exception) -> None:
        self.failures += 1
        if self.failures == 1:
            log.warning("plugin %r failed in %s and was skipped: %s", plugin, self.name, error)


def _picking(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Return what picks an implementation's arguments out of a call's."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda arguments: tuple(arguments[name] for name in names)


class Hooks:
    """Every hook, frozen; `resolve`, `authorize`, … are the hooks without their ``mesh_``."""

    __slots__ = (
        "authorize",
        "charges",
        "cli",
        "estimate",
        "fact",
        "order_targets",
        "price",
        "resolve",
        "sample",
        "sinks",
        "snapshot_changed",
    )

    def __init__(self, frozen: Mapping[str, Hook]) -> None:
        for name in self.__slots__:
            setattr(self, name, frozen[name])

    authorize: Hook
    charges: Hook
    cli: Hook
    estimate: Hook
    fact: Hook
    order_targets: Hook
    price: Hook
    resolve: Hook
    sample: Hook
    sinks: Hook
    snapshot_changed: Hook
