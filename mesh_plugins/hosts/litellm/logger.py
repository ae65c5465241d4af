"""`MeshLogger`: metering calls that name a model themselves, as far as litellm's callbacks reach.

Register it with ``litellm.callbacks.append(MeshLogger())``. A call is metered when its model, as the
caller wrote it (``openai/gpt-5-mini``), is the name of an alias the key may use; other models are left
alone, and so is everything that `install` governs already.

=========================================  ==============================================================
async call, model by keyword               refused by its limits before anything is sent, and metered
async call, model as first argument        metered; a refusal is recorded, but the call goes out
sync call                                  the same: litellm has no hook that can stop it
cancelled, timed out, abandoned stream     no event: settled at the estimate once its deadline has passed
``no-log=True``                            the same
script that ends at once                   litellm drops its last events: settled at the estimate
litellm's Router                           a refusal puts the deployment into cooldown
no key, or one that is not accepted        models that an alias of any team is named like: as a refusal;
                                           all other models are left alone
=========================================  ==============================================================

It is a meter, not a fence: where limits must hold, use ``mesh/`` models and `install`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from mesh_plugins.core.call import CallRequest, ProviderCall
from mesh_plugins.core.context import is_governed
from mesh_plugins.core.course import Course
from mesh_plugins.core.runtime import Runtime
from mesh_plugins.hosts.litellm.doors import PREFIX
from mesh_plugins.hosts.litellm.errors import hosted
from mesh_plugins.hosts.litellm.failures import provider_failure
from mesh_plugins.hosts.litellm.reading import ChatReader, Reader, ResponsesReader
from mesh_plugins.shared import shared_mesh
from mesh_store.model.errors import ConfigUnavailable, InvalidKey, MeshError
from mesh_store.model.forking import forkable_lock
from mesh_store.model.snapshot import Operation

_log = logging.getLogger("mesh_plugins.litellm")

_OPERATIONS: dict[str, Operation] = {
    "completion": "chat",
    "acompletion": "chat",
    "embedding": "embeddings",
    "aembedding": "embeddings",
    "text_completion": "text_completion",
    "atext_completion": "text_completion",
    "responses": "responses",
    "aresponses": "responses",
}
_PAYLOAD = (
    "messages",
    "input",
    "prompt",
    "tools",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
)


class MeshLogger(CustomLogger):  # type: ignore[misc]
    """Meters calls that name a model themselves; the module's table says where it can also refuse."""

    def __init__(self, mesh: Runtime | None = None, *, key: str | None = None) -> None:
        """Meter with ``mesh`` (default: the one all hosts of this process share) for ``key``."""
        super().__init__()
        # Private, because litellm tells loggers apart by their class and public attributes only.
        self._mesh, self._key = mesh, key
        self._open: dict[str, tuple[Course, float]] = {}
        self._lock = forkable_lock()

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> None:
        """Admit an async call, or refuse it: the one hook of litellm whose exception stops a call."""
        operation = _OPERATIONS.get(str(getattr(call_type, "value", call_type)))
        if operation is None or is_governed():
            return
        names = [*_written(kwargs.get("model"))]
        try:
            mesh = self._runtime()
            # Looks the key up, so that nothing below waits for Redis on the caller's event loop.
            await mesh.arequest(operation, "", {}, key=self._key)
            asked = self._asked(operation, names, kwargs)
            if asked is not None:
                self._opened(kwargs, await mesh.ameter(asked))
        except MeshError as error:
            if self._is_nobodys(names, error):
                return
            raise _unretried(hosted(error, str(kwargs.get("model")))) from error

    def log_pre_api_call(self, model: str, messages: Any, kwargs: dict[str, Any]) -> None:
        """Admit a call that no other hook has seen; litellm swallows a refusal, so it is said in the log."""
        operation = _OPERATIONS.get(str(kwargs.get("call_type")))
        if operation is None or is_governed() or kwargs.get("litellm_call_id") in self._open:
            return
        told = kwargs.get("litellm_params") or {}
        payload = {**(kwargs.get("optional_params") or {}), "messages": messages}
        names = [*_written(model, told.get("custom_llm_provider") or kwargs.get("custom_llm_provider"))]
        try:
            asked = self._asked(operation, names, payload | {"metadata": told.get("metadata")})
            if asked is not None:
                self._opened(kwargs, self._runtime().meter(asked))
        except MeshError as error:
            if self._is_nobodys(names, error):
                return
            _log.warning("a call that litellm gives no way to stop goes out although: %s", error)

    def log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Settle a call that was answered; one call may fire this and its async twin."""
        course = self._closed(kwargs)
        if course is not None:
            operation = course.reservation.plan.request.operation
            reader: Reader = ResponsesReader() if operation == "responses" else ChatReader()
            reply = reader.whole(response_obj)
            reply.body = None
            course.hear(response_obj)
            course.succeeded(reply)

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Settle a call that was answered."""
        self.log_success_event(kwargs, response_obj, start_time, end_time)

    def log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Settle a call that failed."""
        course = self._closed(kwargs)
        if course is not None:
            error = kwargs.get("exception")
            failure = provider_failure(_sent(course), error) if error is not None else None
            course.ended("timeout" if failure and failure.kind == "timeout" else "error", None, failure)

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Settle a call that failed."""
        self.log_failure_event(kwargs, response_obj, start_time, end_time)

    def _asked(
        self, operation: Operation, names: Sequence[str], told: Mapping[str, Any]
    ) -> CallRequest | None:
        """Return the request a call stands for, or None when no alias is named like its model."""
        mesh = self._runtime()
        labels = told.get("metadata") or told.get("litellm_metadata") or {}
        payload = {name: told[name] for name in _PAYLOAD if told.get(name) is not None}
        for name in names:
            request = mesh.request(
                operation,
                name,
                payload,
                key=self._key,
                host="litellm",
                stream=told.get("stream") is True,
                tags=labels.get("tags") if isinstance(labels, Mapping) else None,
                session=labels.get("session_id") if isinstance(labels, Mapping) else None,
                end_user=told.get("user"),
            )
            if mesh.config.snapshot().alias(name, request.principal.team) is not None:
                return request
        return None

    def _is_nobodys(self, names: Sequence[str], error: MeshError) -> bool:
        """Tell whether it is known, though not who calls, that no team has an alias named like the model."""
        if not isinstance(error, InvalidKey | ConfigUnavailable):
            return False
        try:
            snapshot = self._runtime().config.snapshot()
        except ConfigUnavailable:
            return False
        teams = snapshot.document.teams
        return not any(snapshot.alias(name, team.id) for team in teams for name in names)

    def _runtime(self) -> Runtime:
        return self._mesh or shared_mesh()

    def _opened(self, kwargs: Mapping[str, Any], course: Course) -> None:
        """Remember a call until its event comes; settle those whose event never came."""
        now = time.monotonic()
        ends = now + course.reservation.plan.timeout_us / 1e6
        with self._lock:
            # litellm's Router keeps the id over its retries: the attempt before has ended without an event.
            before = self._open.pop(str(kwargs.get("litellm_call_id")), None)
            overdue = [at for at, (_, end) in self._open.items() if end < now]
            forgotten = [self._open.pop(at)[0] for at in overdue]
            self._open[str(kwargs.get("litellm_call_id"))] = (course, ends)
        for gone in [*forgotten, *([before[0]] if before else [])]:
            gone.ended("abandoned", None)

    def _closed(self, kwargs: Mapping[str, Any]) -> Course | None:
        with self._lock:
            entry = self._open.pop(str(kwargs.get("litellm_call_id")), None)
        return entry[0] if entry else None


def _sent(course: Course) -> ProviderCall:
    """Say what litellm sent, as far as an error needs to name it."""
    plan = course.reservation.plan
    target = plan.targets[0]
    return ProviderCall(
        plan.request, plan.snapshot.provider(target.provider), target, None, {}, False, 0.0, 1
    )


def _written(model: Any, provider: Any = None) -> Iterator[str]:
    """Yield the names an operator may have given the alias of a model."""
    if isinstance(model, str) and model and not model.startswith(PREFIX):
        if provider and not model.startswith(f"{provider}/"):
            yield f"{provider}/{model}"
        yield model
        if "/" in model:
            yield model.partition("/")[2]


def _unretried(error: MeshError) -> MeshError:
    """Return ``error`` as one that ``num_retries`` cannot get past.

    litellm answers a hook's exception with a retry of the function *without* its hooks, which reaches
    the provider, except when the exception is an ImportError.
    """
    refused: Any = type(error)
    kind: Any = _unretried_class(refused)
    twin = kind.__new__(kind, *error.args)
    twin.__dict__.update(error.__dict__)
    return twin  # type: ignore[no-any-return]


@cache
def _unretried_class(kind: Any) -> type[MeshError]:
    return type(kind.__name__, (kind, ImportError), {"__module__": kind.__module__, "__doc__": kind.__doc__})
