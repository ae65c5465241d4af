from __future__ import annotations

import copy
import pickle
from typing import Any

import msgspec
import pytest

from mesh_plugins.http.reply import Reply, plain

DATA: dict[str, Any] = {
    "id": "chatcmpl-1",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    "data": [{"embedding": [0.1, 0.2]}],
}


@pytest.fixture
def reply() -> Reply:
    return Reply(copy.deepcopy(DATA))


def test_attributes_and_keys_are_the_same(reply: Reply) -> None:
    assert reply.choices[0].message.content == reply["choices"][0]["message"]["content"] == "hi"
    assert reply.usage.total_tokens == reply["usage"]["total_tokens"] == 3
    assert reply.get("id") == reply.id == "chatcmpl-1"
    assert reply.get("nothing", 7) == 7
    assert "usage" in reply
    assert dict(reply)["id"] == "chatcmpl-1"
    assert reply.data[0].embedding == [0.1, 0.2]


def test_what_openai_always_has_is_none_when_left_out(reply: Reply) -> None:
    assert reply.choices[0].message.tool_calls is None
    assert reply.system_fingerprint is None


def test_what_nobody_has_is_an_attribute_error_that_says_what_there_is(reply: Reply) -> None:
    with pytest.raises(AttributeError, match=r"no 'colour'; it has id, model, choices"):
        _ = reply.colour
    assert not hasattr(reply, "_repr_html_")


def test_it_dumps_copies(reply: Reply) -> None:
    dumped = reply.model_dump()
    assert dumped == reply.to_dict() == DATA
    dumped["choices"][0]["message"]["content"] = "changed"
    assert reply.choices[0].message.content == "hi"
    assert msgspec.json.decode(reply.model_dump_json()) == DATA
    assert Reply({"a": None, "b": [{"c": None}]}).model_dump(exclude_none=True) == {"b": [{}]}


def test_it_survives_pickle_and_copies_with_its_mesh(reply: Reply) -> None:
    reply.mesh = {"target": "t"}
    for twin in (pickle.loads(pickle.dumps(reply)), copy.copy(reply), copy.deepcopy(reply)):
        assert twin == reply
        assert twin.mesh == {"target": "t"}


def test_a_message_can_be_sent_back_as_it_is(reply: Reply) -> None:
    sent = msgspec.json.encode({"messages": [reply.choices[0].message]}, enc_hook=plain)
    assert msgspec.json.decode(sent) == {"messages": [{"role": "assistant", "content": "hi"}]}


def test_its_repr_is_bounded() -> None:
    assert repr(Reply({"id": "a"})) == "Reply(id='a')"
    assert len(repr(Reply({"id": "a" * 10_000}))) < 600


def test_responses_have_their_text_joined() -> None:
    part = {"type": "output_text", "text": "a"}
    output = [{"type": "reasoning"}, {"type": "message", "content": [part, {"type": "refusal"}, part]}]
    assert Reply({"output": output}).output_text == "aa"
