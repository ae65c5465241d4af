from __future__ import annotations

from mesh_store.sync.publisher import publish


async def test_a_commit_is_seen_by_a_subscriber(source, aclient, subscribe):
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe()
    assert subscriber.snapshot().revision == 1
    source.commit()
    await publish(source, aclient)
    assert subscriber.wait(2, 2).revision == 2
    assert subscriber._replica.loads == 1


async def test_a_key_is_found_and_its_revocation(source, aclient, subscribe, helpers):
    digest = bytes(32)
    subscriber = subscribe()
    source.put_key(digest)
    await publish(source, aclient)
    assert subscriber.keys.lookup(digest).team == "team-1"
    assert (await subscriber.keys.alookup(digest)).team == "team-1"
    assert subscriber.keys.lookup(b"x" * 32) is None
    source.put_key(digest, revoked=True)
    await publish(source, aclient)
    helpers.eventually(lambda: subscriber.keys.lookup(digest) is None)
