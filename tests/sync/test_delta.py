"""Laws of deltas: applied to what they were made from they give exactly what they were made for."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_store.model import ConfigError
from mesh_store.model.snapshot import Alias, Provider, SnapshotDocument, Team, encode
from mesh_store.model.usage import Rates
from mesh_store.sync.delta import apply, decode_delta, difference, encode_delta

IDS = st.lists(st.sampled_from("abcdefgh"), unique=True)


@st.composite
def documents(draw, revision, *, ordered=True):
    def ids():
        chosen = draw(IDS)
        return sorted(chosen) if ordered else chosen

    return SnapshotDocument(
        epoch="e",
        revision=revision,
        compiled_at_us=draw(st.integers(0, 9)),
        teams=tuple(Team(id=key, name=draw(st.sampled_from("xy"))) for key in ids()),
        providers=tuple(Provider(id=key, name=key, kind="openai") for key in ids()),
        aliases=tuple(Alias(id=key, name=key, defaults={"n": draw(st.integers(0, 1))}) for key in ids()),
        rates={key: Rates(draw(st.integers(0, 1)), 1) for key in ids()},
        rate_card=draw(st.none() | st.just("card")),
    )


@given(documents(1), documents(4))
def test_a_delta_leads_to_exactly_the_other_document(old, new):
    delta = difference(old, new)
    assert delta is not None
    assert encode(apply(old, decode_delta(encode_delta(delta)))) == encode(new)


@given(documents(1, ordered=False), documents(2, ordered=False))
def test_a_delta_that_cannot_tell_the_order_is_not_made(old, new):
    delta = difference(old, new)
    if delta is not None:
        assert apply(old, delta) == new


@given(documents(1), documents(2), documents(1))
def test_a_delta_applied_to_another_document_is_refused_or_harmless(old, new, other):
    delta = difference(old, new)
    assert delta is not None
    try:
        sizes = [len(getattr(apply(other, delta), name)) for name in ("teams", "providers", "aliases")]
    except ConfigError:
        return
    assert sizes == [len(getattr(new, name)) for name in ("teams", "providers", "aliases")]


def test_a_delta_of_another_base_is_refused():
    old, new = (SnapshotDocument(epoch="e", revision=n, compiled_at_us=0) for n in (1, 2))
    delta = difference(old, new)
    with pytest.raises(ConfigError, match="from revision 1 does not apply to revision 2"):
        apply(new, delta)
    assert difference(new, old) is None
    assert difference(old, msgspec.structs.replace(new, epoch="f")) is None


def test_one_changed_alias_among_thousands_makes_a_small_delta():
    aliases = [Alias(id=str(n), name=f"a{n}") for n in range(5_000)]
    old = SnapshotDocument(epoch="e", revision=1, compiled_at_us=0, aliases=tuple(aliases))
    aliases[2_500] = Alias(id="2500", name="a2500", deprecated="soon")
    aliases.insert(1_000, Alias(id="new", name="new"))
    new = SnapshotDocument(epoch="e", revision=2, compiled_at_us=0, aliases=tuple(aliases))
    delta = difference(old, new)
    assert len(encode_delta(delta)) < 300
    assert apply(old, delta) == new
