"""A key that is confined to some aliases opens the secrets behind these, whatever its holder reads."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from mesh_store.model.errors import AccessDenied, SecretError
from mesh_store.model.sealing import KeyHolder
from mesh_store.model.signing import unseal
from mesh_store.model.snapshot import KeyEntry, decode
from mesh_store.redis import config_channel as channel

_numbers = itertools.count()


class Vault:
    """A team with two providers of a stored secret each, and an alias to either."""

    def __init__(self, world):
        self.world = world
        self.number = next(_numbers)

        async def create(admin):
            for name in ("left", "right"):
                await admin.create_provider(
                    name=self.name(name), kind="openai", base_url=world.provider.base_url
                )
                await admin.set_secret(self.name(name), f"sk-{name}-{self.number}")
                targets = [{"provider": self.name(name), "model": "small"}]
                await admin.create_alias(name=self.name(name), targets=targets, grants=[world.team])

        world.run(create)

    def name(self, stem):
        return f"{self.world.team}-{stem}"

    def key(self, *names):
        """Make a key that is confined to these; with none, to nothing."""
        aliases = [self.name(name) for name in names] or None
        return self.world.new_key(aliases=aliases)

    def update(self, key_id, *names):
        aliases = [self.name(name) for name in names] or None
        self.world.run(lambda admin: admin.update_key(key_id, aliases=aliases))

    def data_keys(self, text):
        """Every data key that somebody with a key's text opens out of all that lies in Redis."""
        client, holder, opened = self.world.redis(), KeyHolder(text), []
        for name in client.scan_iter(match=channel.KEY.replace("{", "\\{") + "*"):
            digest = bytes.fromhex(name.decode().removeprefix(channel.KEY))
            envelope = unseal("key", client.get(name), name=digest)
            entry = msgspec.msgpack.decode(envelope.body, type=KeyEntry)
            for sealed in entry.data_keys:
                try:
                    opened.append(holder.open(sealed, entry.team))
                except SecretError:
                    continue
        return opened

    def opens(self, data_keys):
        """Return which of this vault's secrets these data keys open, out of the published snapshot."""
        document = decode(unseal("snapshot", self.world.redis().get(channel.SNAPSHOT)).body)
        found, where = set(), f"openai {self.world.provider.base_url}"
        for sealed in document.sealed:
            provider = sealed.id.split("/")[0]
            for data_key in data_keys:
                try:
                    values = data_key.open(sealed, provider, where)
                except SecretError:
                    continue
                found |= {name for name in ("left", "right") if values["key"] == f"sk-{name}-{self.number}"}
        return found

    def holds(self, text):
        return self.opens(self.data_keys(text))


@pytest.fixture
def vault(make_sealed):
    return Vault(make_sealed())


def test_it_opens_what_its_aliases_lead_to_and_no_more(vault, words):
    (_, left), (_, both), (_, free) = vault.key("left"), vault.key("left", "right"), vault.key()
    assert [vault.holds(text) for text in (left, both, free)] == [
        {"left"},
        {"left", "right"},
        {"left", "right"},
    ]
    mesh = vault.world.mesh(key=left)
    mesh.chat(vault.name("left"), words.ASK)
    assert vault.world.sent() == f"Bearer sk-left-{vault.number}"
    with pytest.raises(AccessDenied):
        mesh.chat(vault.name("right"), words.ASK)
    vault.world.mesh(key=both).chat(vault.name("right"), words.ASK)
    assert vault.world.sent() == f"Bearer sk-right-{vault.number}"


def test_it_is_never_given_a_data_key_it_did_not_hold_not_even_a_retired_one(vault):
    _, text = vault.key("left")
    going, _ = vault.key()
    other, _ = vault.key("right")
    for key_id in (going, other):  # the team's own data key is replaced, then that of another scope
        vault.world.run(lambda admin, key_id=key_id: admin.revoke_key(key_id))
    moved, second = vault.key("right")
    vault.update(moved, "left")
    rows = vault.world.query("SELECT id::text, cardinality(scope) AS size FROM team_data_keys")
    sizes = {row["id"]: row["size"] for row in rows}
    assert [sizes[key.id] for key in vault.data_keys(text)] == [1]
    left = {key.id for key in vault.data_keys(text)}
    assert {key.id for key in vault.data_keys(second)} == left


def test_keys_that_lead_to_the_same_share_a_data_key_and_cost_one_box_each(vault):
    count = "SELECT count(*) FROM team_data_keys WHERE scope IS NOT NULL AND retired_at IS NULL"
    [before] = vault.world.query(count)
    texts = [vault.key("left")[1] for _ in range(4)]
    vault.world.run(lambda admin: admin.publish())
    [after] = vault.world.query(count)
    assert after["count"] == before["count"] + 1
    assert len({key.id for text in texts for key in vault.data_keys(text)}) == 1


def test_a_free_key_that_is_confined_opens_no_more_than_its_own_afterwards(vault):
    key_id, text = vault.key()
    kept = vault.data_keys(text)
    assert vault.opens(kept) == {"left", "right"}
    vault.update(key_id, "left")
    assert vault.opens(kept) == set()
    assert vault.holds(text) == {"left"}
    assert vault.holds(vault.world.key) == {"left", "right"}


def test_moving_it_to_other_aliases_closes_what_it_left_for_it_and_not_for_others(vault):
    key_id, text = vault.key("left")
    _, other = vault.key("left")
    kept = vault.data_keys(text)
    vault.update(key_id, "right")
    assert vault.opens(kept) == set()
    assert vault.holds(text) == {"right"}
    assert vault.holds(other) == {"left"}


def test_one_that_is_freed_holds_what_its_team_does(vault):
    key_id, text = vault.key("left")
    vault.update(key_id)
    assert vault.holds(text) == {"left", "right"}


def test_an_alias_that_leads_elsewhere_takes_its_keys_along(vault):
    _, text = vault.key("left")
    kept = vault.data_keys(text)
    targets = [{"provider": vault.name("right"), "model": "small"}]
    vault.world.run(lambda admin: admin.update_alias(vault.name("left"), targets=targets))
    assert vault.opens(kept) == set()
    assert vault.holds(text) == {"right"}


def test_a_revoked_one_opens_nothing_that_is_sealed_from_then_on(vault):
    key_id, text = vault.key("left")
    _, other = vault.key("left")
    kept = vault.data_keys(text)
    vault.world.run(lambda admin: admin.revoke_key(key_id))
    assert vault.opens(kept) == set()
    assert vault.holds(text) == set()
    assert vault.holds(other) == {"left"}
    seen = vault.world.run(lambda admin: admin.secrets_seen_by(key_id))
    assert seen == [vault.name("left")]


def test_a_data_key_nobody_holds_any_more_goes(vault):
    key_id, _ = vault.key("left")
    vault.update(key_id, "left", "right")
    vault.world.run(lambda admin: admin.publish())
    scopes = vault.world.query(
        "SELECT cardinality(d.scope) AS size FROM team_data_keys d JOIN teams t ON t.id = d.team_id "
        "WHERE t.name = $1 AND d.scope IS NOT NULL AND d.retired_at IS NULL",
        vault.world.team,
    )
    assert [row["size"] for row in scopes] == [2]


def test_what_it_held_before_it_was_confined_is_remembered_when_it_is_revoked(vault):
    key_id, _ = vault.key()
    vault.update(key_id, "left")
    vault.world.run(lambda admin: admin.revoke_key(key_id))
    seen = vault.world.run(lambda admin: admin.secrets_seen_by(key_id))
    assert {vault.name("left"), vault.name("right")} <= set(seen)


def test_an_end_by_the_clock_replaces_what_it_held(vault):
    key_id, text = vault.key("left")
    _, other = vault.key("left")
    kept = vault.data_keys(text)
    vault.world.query("UPDATE keys SET expires_at = now() - interval '1 second' WHERE id = $1", key_id)
    vault.world.run(lambda admin: admin.publish())
    assert vault.opens(kept) == set()
    assert vault.holds(other) == {"left"}


def test_a_pattern_leads_to_the_longest_that_catches_and_to_aliases_under_it(vault):
    world, base = vault.world, vault.name("v")

    async def patterns(admin):
        for name, provider in (("/*", "left"), ("/g/*", "right"), ("/own", "right")):
            targets = [{"provider": vault.name(provider), "model": "m"}]
            await admin.create_alias(name=base + name, targets=targets, grants=[world.team])

    world.run(patterns)
    _, under = world.new_key(aliases=[f"{base}/g/*"])
    _, name = world.new_key(aliases=[f"{base}/x"])
    _, deep = world.new_key(aliases=[f"{base}/g/x"])
    _, every = world.new_key(aliases=[f"{base}/*"])
    assert [vault.holds(text) for text in (under, name, deep, every)] == [
        {"right"}, {"left"}, {"right"}, {"left", "right"},
    ]  # fmt: skip


def test_open_callers_go_on_over_every_change(vault, words):
    key_id, text = vault.key("left")
    mesh = vault.world.mesh(key=text)
    for names in (("left",), ("left", "right"), (), ("left",)):
        vault.update(key_id, *names)
        vault.world.seal()
        mesh.chat(vault.name("left"), words.ASK)
        assert vault.world.sent() == f"Bearer sk-left-{vault.number}"


def test_publishing_again_changes_nothing(vault):
    vault.key("left")
    vault.world.run(lambda admin: admin.publish())
    before = vault.world.query("SELECT id::text, retired_at FROM team_data_keys ORDER BY id")
    vault.world.run(lambda admin: admin.publish())
    vault.world.run(lambda admin: admin.create_alias(name=vault.name("more"), targets=[]))
    assert vault.world.query("SELECT id::text, retired_at FROM team_data_keys ORDER BY id") == before
