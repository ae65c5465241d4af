"""Wrapping litellm's public functions, and taking the wrappers off again.

Like other instrumentation we replace module attributes, so order matters to nobody: a wrapper that
somebody else wrapped after us cannot be taken out of the middle, so `uninstall` makes it transparent
instead.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mesh_plugins.hosts.litellm.doors import DOORS, Door
from mesh_plugins.shared import shared_mesh
from mesh_store.model.errors import ConfigError
from mesh_store.model.forking import forkable_lock

if TYPE_CHECKING:
    from mesh_plugins.core.ports import Sender
    from mesh_plugins.core.runtime import Runtime

_lock = threading.RLock()
#: The one installation of this process, or None: litellm's module attributes exist once, too.
_installed: Installation | None = None


def install(mesh: Runtime | None = None, *, fast: bool = False) -> None:
    """Govern every call of litellm that names a model ``mesh/<alias>``; all other calls stay as they are.

    Wraps ``completion``, ``embedding``, ``text_completion`` and ``responses`` with their async twins, and
    ``anthropic_messages``; litellm's Router and everything else that looks these up in ``litellm`` at the
    time of a call comes along. What else litellm can do (images, audio, moderation, batches, files) refuses
    a ``mesh/`` model before anything is sent: see `ungoverned`. Names bound before this was called (``from
    litellm import completion`` above it) are caught further inside: see `provider`; of what Mesh does not
    govern not all are: see `ungoverned`.

    May be called again, by several threads at once, and before or after other libraries wrap litellm.

    Args:
        mesh: who governs; default: the process's shared mesh, made from the environment at the first
            governed call. A later `install` with another one changes it.
        fast: send chat to OpenAI-compatible providers and Anthropic without litellm, where nothing of
            litellm's own takes part: see `fast`.

    Raises:
        ModuleNotFoundError: litellm, or what it needs, is not there; says how to install it.
    """
    global _installed
    try:
        import litellm
        import litellm.main
    except ModuleNotFoundError as error:
        error.add_note("litellm comes with an extra: pip install 'mesh-plugins[litellm]'")
        raise

    from mesh_plugins.hosts.litellm import provider

    with _lock:
        if _installed is None:
            # What litellm's own async functions call from inside is looked up in the defining modules.
            _installed = Installation([litellm, litellm.main, import_module("litellm.responses.main")])
            provider.register(_installed)
        _installed.use(mesh, fast=fast)


def uninstall() -> None:
    """Put litellm's functions back; who governed stays open, for the other hosts of this process."""
    global _installed
    with _lock:
        installation, _installed = _installed, None
    if installation is not None:
        from mesh_plugins.hosts.litellm import attempts, provider

        provider.unregister(installation)
        installation.remove()
        attempts.restore()


def governing() -> Runtime:
    """Return the mesh that governs; made from the environment when nobody said. May wait for engines.

    Raises:
        ConfigError: `install` was not called.
    """
    installation = _installed
    if installation is None:
        raise ConfigError("mesh is not installed in litellm: call mesh_plugins.hosts.litellm.install() first")
    return installation.mesh


def original(name: str) -> Callable[..., Any]:
    """Return one of litellm's functions as it is without us."""
    import litellm

    installation = _installed
    found: Callable[..., Any] = getattr(litellm, name)
    return found if installation is None else installation.original(name, found)


class Installation:
    """Wrappers around litellm's functions.

    Attributes:
        active: False lets every call through untouched.
        direct: our direct caller, where calls may skip litellm; or None.
    """

    def __init__(self, modules: list[ModuleType]) -> None:
        self.active = True
        self.direct: Sender | None = None
        self._mesh: Runtime | None = None
        self._lock = forkable_lock()
        from mesh_plugins.hosts.litellm import cooling, ungoverned

        self._wrapped: list[tuple[ModuleType, str, Callable[..., Any], Callable[..., Any]]] = []
        for module in modules:
            for door in DOORS:
                original = getattr(module, door.name, None)
                # litellm.main re-exports some doors; a door that a release lacks is none.
                if callable(original):
                    wrapper = self._wrap(door, original)
                    self._put(module, door.name, original, wrapper)
        refusals: dict[Callable[..., Any], Callable[..., Any]] = {}
        for module, name, original in ungoverned.functions():
            wrapper = refusals.setdefault(original, ungoverned.refusing(self, name, original))
            self._put(module, name, original, wrapper)
        for module, name, original in cooling.hearing():
            self._put(module, name, original, cooling.unharmed(self, original))

    @property
    def mesh(self) -> Runtime:
        """Who governs: whom `install` was given, else the mesh that all hosts of this process share."""
        return self._mesh or shared_mesh()

    def use(self, mesh: Runtime | None, *, fast: bool) -> None:
        """Let ``mesh`` govern from the next call on; None keeps the one that does."""
        from mesh_plugins.http.sender import DirectSender

        with self._lock:
            self._mesh = mesh or self._mesh
            self.direct = (self.direct or DirectSender()) if fast else None

    def door(self, name: str) -> Callable[..., Any]:
        """Return our wrapper of one of litellm's functions."""
        return next(wrapper for _, wrapped, _, wrapper in self._wrapped if wrapped == name)

    def original(self, name: str, found: Callable[..., Any]) -> Callable[..., Any]:
        """Return what our wrapper of a function wraps; ``found`` where somebody else wrapped it after us."""
        known = ((wrapper, before) for _, wrapped, before, wrapper in self._wrapped if wrapped == name)
        return next((before for wrapper, before in known if wrapper is found), found)

    def remove(self) -> None:
        """Take the wrappers off where they are outermost, and make the others transparent."""
        self.active = False
        for module, name, original, wrapper in self._wrapped:
            if getattr(module, name, None) is wrapper:
                setattr(module, name, original)
        self._mesh = None

    def _put(
        self, module: ModuleType, name: str, original: Callable[..., Any], wrapper: Callable[..., Any]
    ) -> None:
        self._wrapped.append((module, name, original, wrapper))
        setattr(module, name, wrapper)

    def _wrap(self, door: Door, original: Callable[..., Any]) -> Callable[..., Any]:
        from mesh_plugins.hosts.litellm import provider
        from mesh_plugins.hosts.litellm.calls import agoverned_call, governed_call

        if door.is_async:

            @functools.wraps(original)
            async def awrapper(*args: Any, **kwargs: Any) -> Any:
                alias = door.alias(args, kwargs) if self.active else None
                if alias is None:
                    return await original(*args, **kwargs)
                return await agoverned_call(self, door, original, alias, args, kwargs)

            return awrapper

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            alias = door.alias(args, kwargs) if self.active else None
            if alias is None:
                return original(*args, **kwargs)
            early = door.early_caller(kwargs)
            if early is not None:
                return self.door(early)(*args, **provider.restarted(kwargs, door.called_by))
            return governed_call(self, door, original, alias, args, kwargs)

        return wrapper
