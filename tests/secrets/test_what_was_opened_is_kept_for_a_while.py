"""Opening in one process: asked for once, kept for a while, never beyond what it was opened from."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import msgspec
import pytest

from mesh_plugins.core.sealed import MOST_OPENED, OPENED_S, SealedSecrets
from mesh_store.model.errors import SecretError
from mesh_store.model.keys import mint
from mesh_store.model.sealing import DataKey, KeyHolder, sealing_public
from mesh_store.model.snapshot import KeyEntry, Provider, Snapshot, SnapshotDocument

PROVIDER = Provider(
    id="p", name="vendor", kind="openai", base_url="https://a.example/v1", secret="sealed:key"
)
OLD, NEW = DataKey.generate("old", "t"), DataKey.generate("new", "t")


def snapshot(data_key=NEW, value="sk-x", version=1):
    sealed = (data_key.seal("p", "openai https://a.example/v1", version, {"key": value}),)
    document = SnapshotDocument(epoch="e", revision=1, compiled_at_us=0, providers=(PROVIDER,), sealed=sealed)
    return Snapshot(document)


class Config:
    """Knows one key, whose entry may change; counts how often it is asked again."""

    def __init__(self):
        self.minted, self.asked, self.now = mint(), 0, 0.0
        self.entry = self.entry_with(NEW)

    def entry_with(self, *data_keys):
        sealed = [key.seal_to(sealing_public(self.minted.text), self.minted.digest) for key in data_keys]
        return KeyEntry(id=self.minted.id, team="t", data_keys=tuple(sealed))

    def refetch(self, digest):
        assert digest == self.minted.digest
        self.asked += 1
        return self.entry

    async def arefetch(self, digest):
        return self.refetch(digest)

    def call(self, entry=None, provider=PROVIDER):
        request = SimpleNamespace(principal=entry or self.entry, holder=KeyHolder(self.minted.text))
        return SimpleNamespace(request=request, provider=provider)


@pytest.fixture
def config():
    return Config()


@pytest.fixture(params=["threads", "event loop"])
def opens(request, config):
    """Opens in either colour."""
    secrets = SealedSecrets(config, lambda: config.now)

    def open_(call, snapshot):
        if request.param == "threads":
            return secrets.open(call, snapshot)["key"]
        return asyncio.run(secrets.aopen(call, snapshot))["key"]

    open_.secrets = secrets
    return open_


def test_an_entry_that_names_another_data_key_is_asked_for_again_once(config, opens):
    stale = config.entry_with(OLD)
    for _ in range(5):
        assert opens(config.call(stale), snapshot()) == "sk-x"
    assert config.asked == 1


def test_an_entry_that_knows_the_data_key_is_not_asked_for_again(config, opens):
    assert opens(config.call(), snapshot()) == "sk-x"
    assert config.asked == 0


def test_a_document_that_still_names_the_data_key_before_is_opened_too(config, opens):
    entry = config.entry_with(NEW, OLD)
    assert opens(config.call(entry), snapshot(OLD, "sk-before")) == "sk-before"
    assert opens(config.call(entry), snapshot(NEW, "sk-after", 2)) == "sk-after"
    assert config.asked == 0


def test_a_key_whose_entry_holds_no_data_key_opens_nothing(config, opens):
    config.entry = config.entry_with()
    with pytest.raises(SecretError, match="not sealed to this key"):
        opens(config.call(), snapshot())
    config.entry = None
    with pytest.raises(SecretError, match="not sealed to this key"):
        opens(config.call(KeyEntry(id="k", team="t")), snapshot())


def test_what_was_opened_is_forgotten_after_a_while(config, opens):
    opens(config.call(), snapshot())
    config.now = OPENED_S - 1
    bare = config.entry_with()
    config.entry = bare
    assert opens(config.call(bare), snapshot()) == "sk-x"
    config.now = OPENED_S + 1
    with pytest.raises(SecretError):
        opens(config.call(bare), snapshot())


def test_what_was_opened_is_not_used_for_another_address_or_another_setting(config, opens):
    opens(config.call(), snapshot())
    moved = msgspec.structs.replace(PROVIDER, base_url="https://b.example/v1")
    with pytest.raises(SecretError, match="does not open"):
        opens(config.call(provider=moved), snapshot())
    assert opens(config.call(), snapshot(NEW, "sk-y", 2)) == "sk-y"


def test_no_more_than_so_many_are_kept(config, opens):
    here = snapshot()
    for _ in range(MOST_OPENED + 10):
        config.minted = mint()
        config.entry = config.entry_with(NEW)
        opens(config.call(), here)
    assert len(opens.secrets._opened) == MOST_OPENED
