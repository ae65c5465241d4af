"""`MeshCallbackHandler`: a gate and a meter for chat models that Mesh did not make.

Best effort, and never the only ledger: LangChain tells a handler nothing about a cancelled or
timed-out ``ainvoke``, about the siblings of a failed batch, or about a call that another handler
vetoed. What it never tells us about is settled at its estimate when its deadline passed. Use
`ChatMesh` where you can.

One *sync* handler with ``raise_error`` and ``run_inline``: an asynchronous one fails open under sync
calls (LangChain swallows what it raises), and an executor thread would lose the caller's context. So on
an event loop, too, it waits for the limits' answer in place: at most ``MESH_DECISION_S``, and not at all
where limits are leased.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from mesh_plugins.core.call import ProviderReply
from mesh_plugins.core.context import is_governed
from mesh_plugins.core.course import Course
from mesh_plugins.hosts.langchain.messages import to_openai
from mesh_plugins.hosts.langchain.usage import message_usage, with_input
from mesh_plugins.mesh import Mesh
from mesh_plugins.shared import shared_mesh
from mesh_store.model.errors import ProviderError
from mesh_store.model.forking import forkable_lock


class MeshCallbackHandler(BaseCallbackHandler):
    """Refuses calls a limit has no room for, and counts those it lets through.

    Args:
        alias: the alias whose targets, limits and prices apply; None takes the model's own name.
        mesh: the mesh to count in; None uses the process's own, from the environment.
        key: the caller's key; None uses the mesh's (``MESH_KEY``).
        tags: labels for the facts of these calls.
    """

    raise_error = True
    run_inline = True

    def __init__(
        self,
        alias: str | None = None,
        *,
        mesh: Mesh | None = None,
        key: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._alias, self._mesh, self._key, self._tags = alias, mesh, key, tags
        self._running: dict[UUID, Course] = {}
        self._lock = forkable_lock()

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """Admit the call or raise what refuses it; the model is not asked then."""
        invoked = kwargs.get("invocation_params") or {}
        model = str(invoked.get("model") or invoked.get("model_name") or "")
        if is_governed() or invoked.get("_type") == "mesh-chat" or model.startswith("mesh/"):
            return
        mesh = self._mesh or shared_mesh()
        payload = {"messages": [message for batch in messages for message in to_openai(batch)]}
        cap = invoked.get("max_tokens") or invoked.get("max_completion_tokens")
        request = mesh.request(
            "chat",
            self._alias or model,
            payload,
            key=self._key,
            host="langchain",
            stream=bool(invoked.get("stream")),
            max_tokens=cap if isinstance(cap, int) else None,
            tags=self._tags,
        )
        course = mesh.meter(request)
        with self._lock:
            self._running[run_id] = course

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note when the first token came; whether a call is a stream is not known before."""
        course = self._running.get(run_id)
        if course is not None:
            course.reservation.plan.request.stream = True
            course.chunk()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Settle at what the model says it used; an answer from LangChain's cache costs nothing."""
        course = self._taken(run_id)
        if course is not None:
            if course.listens:
                course.hear(_text(response))
            course.succeeded(_reply(response, course))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Settle a call that failed, was cancelled, or whose stream was given up."""
        course = self._taken(run_id)
        if course is None:
            return
        partial = kwargs.get("response")
        reply = _reply(partial, course) if isinstance(partial, LLMResult) else None
        if isinstance(partial, LLMResult):
            course.hear(_text(partial))
        if not isinstance(error, Exception):
            course.ended("abandoned" if isinstance(error, GeneratorExit) else "cancelled", reply)
            return
        target = course.reservation.plan.targets[0]
        status = getattr(error, "status_code", None)
        failure = ProviderError(
            f"{type(error).__name__} from the model",
            provider=target.provider,
            model=target.model,
            status=status if isinstance(status, int) else 502,
            kind="status" if isinstance(status, int) else "connect",
            native=error,
        )
        course.ended("error", reply, failure)

    def _taken(self, run_id: UUID) -> Course | None:
        with self._lock:
            return self._running.pop(run_id, None)


def _text(response: LLMResult) -> str:
    return "".join(generation.text for several in response.generations for generation in several)


def _reply(response: LLMResult, course: Course) -> ProviderReply:
    usage, chars, finish, model = None, 0, None, None
    flags: tuple[str, ...] = ()
    for generations in response.generations:
        for generation in generations:
            message = generation.message if isinstance(generation, ChatGeneration) else None
            chars += len(generation.text)
            if isinstance(message, AIMessage):
                said, doubts = message_usage(message)
                flags = flags or doubts
                usage = said if usage is None else usage + said if said else usage
                finish = message.response_metadata.get("finish_reason", finish)
                model = message.response_metadata.get("model_name", model)
    if usage is not None:
        usage = with_input(usage, course.reservation.plan.estimate)
    return ProviderReply(None, None if flags else usage, finish, model, output_chars=chars, flags=flags)
