"""A limit on a key reaches the key's open callers with its entry, and moves nobody else's snapshot."""

from __future__ import annotations

import time

from mesh_plugins import QuotaExceeded

ASK = [{"role": "user", "content": "hello"}]


def test_a_limit_that_is_made_changed_and_taken_away_is_live_within_a_second(make_world):
    world = make_world(limits=())
    alias, mesh = world.alias(), world.mesh()
    mesh.chat(alias, ASK)
    revision = mesh.config.snapshot().revision

    def refusal() -> str | None:
        try:
            mesh.chat(alias, ASK)
        except QuotaExceeded as error:
            return error.subject
        return None

    def within_a_second(subject: str | None) -> None:
        started = time.monotonic()
        while refusal() != subject:
            # The promise is a second; a busy machine gets more, and what never comes still fails.
            assert time.monotonic() - started < 60
            time.sleep(0.02)

    own = f"key {world.key_id}"
    limit = world.run(lambda repo: repo.create_limit(key=world.key_id, limit="1 requests/hour"))
    within_a_second(own)
    world.run(lambda repo: repo.update_limit(limit.id, limit="1M requests/hour, burst 1000"))
    within_a_second(None)
    world.run(lambda repo: repo.update_limit(limit.id, limit="1 requests/hour"))
    within_a_second(own)
    world.run(lambda repo: repo.archive_limit(limit.id))
    within_a_second(None)
    assert mesh.config.snapshot().revision == revision
