"""A planted secret, looked for everywhere it must not be: in every form it could be written in."""

from __future__ import annotations

import asyncio
import base64
import copy
import logging
import pickle

import pytest

from mesh_plugins import ProviderError
from mesh_plugins.core.sealed import SealedSecrets
from mesh_store.model.keys import mint
from mesh_store.model.sealing import DataKey, KeyHolder, Master
from mesh_store.model.signing import Signer


def forms(secret):
    """Ways a secret may be written down."""
    raw = secret.encode()
    return (secret, raw.hex(), base64.b64encode(raw).decode().rstrip("=")[:-2], secret[::-1])


def assert_absent(text, secret, where):
    found = [form for form in forms(secret) if form in text]
    assert not found, f"the secret is in {where}"


def everything_in_redis(client):
    for name in client.scan_iter(match="*", count=1000):
        yield name, name + (client.dump(name) or b"")
        kind = client.type(name)
        if kind == b"stream":
            yield name, repr(client.xrange(name)).encode()
        elif kind == b"hash":
            yield name, repr(client.hgetall(name)).encode()
        elif kind == b"string":
            yield name, client.get(name)


@pytest.fixture
def used(sealed, words, caplog, capfd):
    """A world in which the secret was used in every way, with everything that was said meanwhile."""
    caplog.set_level(logging.DEBUG)
    seen = []

    class Nosy:
        """A plugin that looks at all it is given."""

        from mesh_plugins import hookimpl

        @hookimpl
        def mesh_charges(self, request, target, estimate, snapshot):
            seen.append(repr((request, target, estimate, snapshot, snapshot.document)))

        @hookimpl
        def mesh_fact(self, receipt, fact):
            seen.append(repr((receipt, fact)))

    from mesh_plugins.mesh import Mesh
    from mesh_plugins.settings import Settings

    sealed.limit("600 requests/min")
    sealed.alias("broken", models=("small?status=401",))
    mesh = Mesh(Settings.from_env(sealed.environ), plugins=[Nosy()])
    sealed.closing.callback(mesh.close, 0.5)
    reply = mesh.chat(sealed.alias_name, words.ASK)
    stream = mesh.stream(sealed.alias_name, words.ASK)
    chunks = list(stream)
    asyncio.run(mesh.achat(sealed.alias_name, words.ASK))
    with pytest.raises(ProviderError) as failure:
        mesh.chat(sealed.name("broken"), words.ASK)
    sealed.seal(words.CANARY)  # set again
    stored = sealed.run(lambda admin: admin.list_secrets())
    key_id, _ = sealed.new_key()
    sealed.run(lambda admin: admin.revoke_key(key_id))
    assert mesh.flush(10)
    sealed.collect()
    seen += [repr(one) for one in (mesh, reply, reply.mesh, stream, chunks, stored, mesh.status())]
    seen += [repr(mesh._engine), repr(vars(mesh._engine.secrets)), repr(mesh._engine.secrets._sealed)]
    seen += [repr(failure.value), str(failure.value), repr(vars(failure.value)), failure.value.body]
    captured = capfd.readouterr()
    return [*seen, caplog.text, captured.out, captured.err]


def test_not_in_what_is_shown_or_logged_or_raised(used, words):
    for text in used:
        assert_absent(text, words.CANARY, "what was shown")
        assert_absent(text, words.SECRET_KEY, "what was shown")


def test_not_in_redis(used, sealed, words):
    names = 0
    for name, value in everything_in_redis(sealed.redis()):
        names += 1
        for form in forms(words.CANARY):
            assert form.encode() not in value, name
    assert names > 5


def test_not_in_any_column_of_postgres_the_audit_log_included(used, sealed, words):
    tables = sealed.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = 0
    for (table,) in tables:
        for (row,) in sealed.query(f"SELECT t::text FROM {table} t"):
            rows += 1
            assert_absent(row, words.CANARY, table)
            assert_absent(row, words.SECRET_KEY, table)
    assert rows > 20
    actions = {row["action"] for row in sealed.query("SELECT action FROM audit_log")}
    assert {"secret.set", "data_key.create", "data_key.rotate"} <= actions


def test_not_in_any_file_of_the_home_or_the_engines(used, sealed, words):
    files = [path for path in sealed.home.rglob("*") if path.is_file()]
    assert any("config" in str(path) for path in files)
    engines = [path for path in sealed.engines.home.rglob("*") if path.is_file() and not path.is_socket()]
    for path in (*files, *engines):
        content = path.read_bytes()
        for form in forms(words.CANARY):
            assert form.encode() not in content, path


def test_what_holds_a_secret_shows_pickles_and_copies_none(words):
    minted = mint()
    holders = (Master(b"s" * 32), DataKey("k", "t", b"d" * 32), KeyHolder(minted.text))
    for holder in holders:
        assert repr(holder) == f"{type(holder).__name__}(…)"
        assert copy.deepcopy(holder) is holder
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(holder)
    assert minted.text not in repr([vars(SealedSecrets(None)), minted])
    assert "s" * 32 not in repr(Signer(b"s" * 32))


def test_an_attempt_cannot_be_pickled_and_does_not_show_its_secret(sealed, words):
    kept = []

    class Keeping:
        def send(self, call):
            kept.append(call)
            raise RuntimeError("as far as we go")

        def failure(self, call, error):
            return None

    from mesh_plugins.mesh import Mesh
    from mesh_plugins.settings import Settings

    with Mesh(Settings.from_env(sealed.environ), sender=Keeping()) as mesh, pytest.raises(RuntimeError):
        mesh.chat(sealed.alias_name, words.ASK)
    [call] = kept
    assert call.secret == words.CANARY
    assert words.CANARY not in repr(call)
    assert sealed.key not in repr(call)
    for one in (call, call.request):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(one)
