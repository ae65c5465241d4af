"""The thread's work: stay connected, hear hints, poll, and catch up.

Pub/Sub is only a hint. Every subscribe confirmation means "something may have been missed" (redis-py
re-subscribes silently after a dropped connection: 4 kills lost 4 of 200 messages without one
exception), and a poll of both revisions each second finds whatever no hint told.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoPermissionError

from mesh_store.model.errors import ConfigError, MeshError
from mesh_store.model.snapshot import Snapshot
from mesh_store.redis import config_channel as channel
from mesh_store.redis.client import connect
from mesh_store.redis.failures import FAILURES, translate
from mesh_store.sync.keys import KeyCache
from mesh_store.sync.last_good import LastGood
from mesh_store.sync.replica import Made, Replica
from mesh_store.sync.trust import Trust

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import PubSub

log = logging.getLogger(__name__)

#: Seconds a read may take; a large document comes in one reply.
READ_DEADLINE = 5.0
#: Seconds a connection may take to make.
CONNECT_DEADLINE = 1.0
#: Polls in a row that found what no hint had told, after which the connection is made anew.
DEAF_POLLS = 3
#: Seconds before the first new attempt after a failure; doubles up to the poll interval.
BACKOFF_S = 0.05

OnChange = Callable[[Snapshot | None, Snapshot], None]


class Follower:
    """Follows one Redis until it is stopped; made anew in a forked child.

    Attributes:
        confirmed_at: when Redis last said that what is held is the newest, by the clock given.
        asked: set after the first attempt, successful or not.
        changed: notified after every new snapshot.
        connects: how many connections were made.
        said: what Redis came to last, for messages.
    """

    def __init__(
        self,
        redis_url: str,
        replica: Replica,
        keys: KeyCache,
        last_good: LastGood,
        trust: Trust,
        *,
        on_change: OnChange | None,
        poll_s: float,
        clock: Callable[[], float],
        confirmed_at: float,
    ) -> None:
        self._url = redis_url
        self._replica = replica
        self._keys = keys
        self._last_good = last_good
        self._trust = trust
        self._on_change = on_change
        self._poll_s = poll_s
        self._clock = clock
        self._stop = threading.Event()
        self._pubsub: PubSub | None = None
        self._hints = True
        self.confirmed_at = confirmed_at
        self.asked = threading.Event()
        self.changed = threading.Condition()
        self.connects = 0
        self.said = "Redis was not asked yet"
        self.thread = threading.Thread(target=self._run, name="mesh-config", daemon=True)

    def stop(self, timeout: float) -> None:
        """End the thread and wait for it, but not for ever."""
        self._stop.set()
        pubsub = self._pubsub
        if pubsub is not None:
            # The confirmation wakes the thread, which alone reads from the connection.
            with contextlib.suppress(*FAILURES, AttributeError):
                pubsub.unsubscribe()  # type: ignore[no-untyped-call]
        if self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join(timeout)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                with self._connection() as (redis, pubsub):
                    failures = 0
                    self._follow(redis, pubsub)
            except Exception as error:  # a thread that ended would freeze the configuration unseen
                failures += 1
                self._failed(error)
            self.asked.set()
            self._keys.followed(confirmed=False)
            pause = min(self._poll_s, BACKOFF_S * 2 ** min(failures, 10))
            self._stop.wait(pause * random.uniform(0.5, 1.0))
        self._last_good.save(self.confirmed_at, at_once=True)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[tuple[Redis, PubSub]]:
        redis = connect(self._url, deadline=READ_DEADLINE, connect_deadline=CONNECT_DEADLINE)
        try:
            with redis.pubsub() as pubsub:  # type: ignore[no-untyped-call]
                self.connects += 1
                pubsub.subscribe(channel.NEWS)
                self._pubsub = pubsub
                yield redis, pubsub
        finally:
            self._pubsub = None
            redis.close()

    def _follow(self, redis: Redis, pubsub: PubSub) -> None:
        poll_at = self._clock() + self._poll_s
        unheard = 0
        while not self._stop.is_set() and unheard < DEAF_POLLS:
            message = self._hear(pubsub, max(0.0, poll_at - self._clock()))
            if message is not None and self._is_news(message):
                if not self._take(message):
                    self._sync(redis)
                unheard = 0
            if self._clock() >= poll_at:
                if self._sync(redis) and self._hints:
                    unheard += 1
                poll_at = self._clock() + self._poll_s * random.uniform(0.8, 1.2)

    def _hear(self, pubsub: PubSub, timeout: float) -> dict[str, Any] | None:
        if not self._hints:
            self._stop.wait(timeout)
            return None
        try:
            message: dict[str, Any] | None = pubsub.get_message(timeout=timeout)
        except NoPermissionError as error:
            log.warning("no hints, changes arrive by the poll: %s (`mesh acl` prints the rules)", error)
            self._hints = False
            return None
        return message

    def _is_news(self, message: dict[str, Any]) -> bool:
        if message["type"] != "message":
            return bool(message["type"] == "subscribe")
        news = channel.parse_news(message["data"])
        if news is None:
            return False
        held = self._replica.place if news.kind == "snapshot" else self._keys.place
        return held is None or news.place > held

    def _take(self, message: dict[str, Any]) -> bool:
        """Apply the delta a message brought; False when there is more to read."""
        news = channel.parse_news(message["data"]) if message["type"] == "message" else None
        made = self._replica.made
        if news is None or not news.sealed or made is None:
            return False
        self._replica.follow(made, [news.sealed])
        self._tell_after(made)
        return self._replica.place == news.place

    def _sync(self, redis: Redis) -> bool:
        """Catch up with Redis; tell whether there was anything new."""
        before, keys_before = self._replica.made, self._keys.place
        heads = channel.read_heads(redis)
        self._trust.learn(channel.parse_handovers(heads.handovers))
        self._meet_publisher()
        # Keys first: a revocation takes effect before anything a newer snapshot allows.
        keys_confirmed = self._keys.catch_up(redis, heads.keys)
        confirmed = self._replica.catch_up(redis, heads.snapshot)
        self._keys.followed(confirmed=keys_confirmed)
        if confirmed and keys_confirmed:
            self.confirmed_at = self._clock()
            self.said = "Redis answered"
        elif confirmed:
            self.said = "Redis lost keys that nobody has published again yet"
        else:
            self.said = self._replica.last_refusal or "Redis holds no configuration: nobody has published yet"
        self.asked.set()
        self._tell_after(before)
        self._last_good.save(self.confirmed_at)
        return self._replica.made is not before or self._keys.place != keys_before

    def _meet_publisher(self) -> None:
        own = self._trust.wants_voucher
        if own is not None:
            with contextlib.suppress(MeshError):  # who asks for the key hears what is wrong with it
                self._keys.lookup(own)

    def _tell_after(self, before: Made | None) -> None:
        after = self._replica.made
        if after is None or after is before:
            return
        with self.changed:
            self.changed.notify_all()
        if self._on_change is not None:
            try:
                self._on_change(None if before is None else before.snapshot, after.snapshot)
            except Exception:
                log.exception("a listener failed on configuration revision %d", after.snapshot.revision)

    def _failed(self, error: Exception) -> None:
        said = f"following the configuration failed: {type(error).__name__}: {error}"
        if isinstance(error, FAILURES) and isinstance(mistake := translate(error), ConfigError):
            said = str(mistake)
        if said != self.said:
            log.warning("%s; keeping what is held", said, exc_info=not isinstance(error, FAILURES))
        self.said = said
