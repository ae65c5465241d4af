"""litellm's proxy under the same keys, aliases and limits: for where enforcement has to be physical.

In the proxy's ``config.yaml``::

    model_list:
      - {model_name: "mesh/*", litellm_params: {model: "mesh/*"}}
    litellm_settings:
      callbacks: mesh_plugins.hosts.litellm.proxy.governance
    general_settings:
      custom_auth: mesh_plugins.hosts.litellm.proxy.custom_auth
    router_settings:
      num_retries: 0

Its users call with a key of Mesh's (``mk_…``) and name an alias as the model. The proxy itself needs
``MESH_REDIS_URL`` and no key. Keys are checked when a request comes in, aliases by the hook; limits are
taken and settled by our wrapper of the function that the proxy's Router calls, streams included, so what
is refused reaches no provider.

What Mesh does not govern (images, audio, files, passing through) is refused by name. Importing this
module installs Mesh in litellm: the proxy builds its Router next, which wants every model's provider.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import UserAPIKeyAuth
from pydantic import PrivateAttr

from mesh_plugins.core.identity import aprincipal
from mesh_plugins.core.runtime import Runtime
from mesh_plugins.hosts.litellm import callers
from mesh_plugins.hosts.litellm.doors import PREFIX
from mesh_plugins.hosts.litellm.errors import hosted
from mesh_plugins.hosts.litellm.installation import governing, install
from mesh_store.model.errors import AccessDenied, InvalidKey, MeshError, UnknownAlias

_GOVERNED = frozenset(
    {"completion", "acompletion", "text_completion", "atext_completion", "embedding", "aembedding"}
    | {"embeddings", "aembeddings", "responses", "aresponses", "anthropic_messages", "aanthropic_messages"}
)

install()


class MeshCaller(UserAPIKeyAuth):  # type: ignore[misc]
    """A caller as the proxy knows it: ids of Mesh's; its key's text is in no field and in no log."""

    _text: str = PrivateAttr(default="")

    @classmethod
    def of(cls, text: str, *, id: str, team: str, user: str | None) -> MeshCaller:  # noqa: A002
        """Return the caller with this key."""
        caller = cls(api_key=id, key_alias=id, team_id=team, user_id=user)
        caller._text = text
        return caller


async def custom_auth(request: Any, api_key: str) -> UserAPIKeyAuth:
    """Let in who brings a good key of Mesh's.

    Raises:
        HTTPException: 401 for every other key, 503 when it could not be looked up.
    """
    mesh = await _mesh()
    try:
        entry, _ = await aprincipal(mesh.config, api_key)
    except MeshError as error:
        raise HTTPException(error.status, detail={"error": str(error)}) from None
    return MeshCaller.of(api_key, id=entry.id, team=entry.team, user=entry.user)


class Governance(CustomLogger):  # type: ignore[misc]
    """Sends the proxy's calls through the alias they name, with the key they came with."""

    async def async_pre_call_hook(
        self, user_api_key_dict: UserAPIKeyAuth, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Rewrite ``model`` to the alias, or refuse the call.

        Raises:
            MeshError: litellm's own class of it, too, so that the proxy answers with its status.
        """
        named = str(data.get("model") or "").removeprefix(PREFIX)
        try:
            if not isinstance(user_api_key_dict, MeshCaller) or not user_api_key_dict._text:
                raise InvalidKey("this proxy takes keys of Mesh's alone: set general_settings.custom_auth")
            if str(getattr(call_type, "value", call_type)) not in _GOVERNED:
                raise AccessDenied(f"{call_type} is not governed by Mesh, and this proxy serves nothing else")
            snapshot = (await _mesh()).config.snapshot()
            if snapshot.alias(named, user_api_key_dict.team_id) is None:
                raise UnknownAlias(f"there is no alias {named!r} that this key may use")
        except MeshError as error:
            raise hosted(error, PREFIX + named) from None
        callers.serve(user_api_key_dict._text)
        return {**data, "model": PREFIX + named}


async def _mesh() -> Runtime:
    # Made on the first request: it opens connections, and may start engines.
    return await asyncio.to_thread(governing)


governance = Governance()
