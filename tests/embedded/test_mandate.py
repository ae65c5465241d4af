"""When a supervisor goes, and who may come in meanwhile."""

from __future__ import annotations

import os
import signal
import time

import pytest

from mesh_store.embedded.layout import Layout
from mesh_store.embedded.leases import take_alone, take_lease
from mesh_store.embedded.mandate import Mandate


@pytest.fixture
def layout(bare_home):
    layout = Layout.of(bare_home)
    layout.make()
    return layout


@pytest.fixture
def mandate(layout):
    """Of a supervisor that has been there for no time at all, and lingers for none."""
    signals = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    watch = take_alone(layout.watch, time.monotonic() + 10)
    with Mandate(layout, 0.0, watch) as mandate:
        yield mandate
    watch.close()
    for signum, handler in signals.items():
        signal.signal(signum, handler)


def test_a_user_prolongs_it_and_the_last_one_ends_it(layout, mandate):
    lease = take_lease(layout.lease, time.monotonic())
    assert not mandate.ended()
    lease.close()
    assert mandate.ended()


def test_nobody_becomes_a_user_of_a_pair_that_has_begun_to_stop(layout, mandate):
    assert mandate.ended()
    assert take_lease(layout.lease, time.monotonic()) is None
    mandate.__exit__()
    lease = take_lease(layout.lease, time.monotonic())
    assert lease is not None
    lease.close()


def test_the_order_to_stop_counts_in_spite_of_users_and_of_keeping(layout, mandate):
    lease = take_lease(layout.lease, time.monotonic())
    layout.keep.touch()
    assert not mandate.ended()
    layout.stop.touch()
    assert mandate.ended()
    lease.close()


def test_a_signal_that_asks_to_end_counts_as_the_order_to_stop(layout, mandate):
    lease = take_lease(layout.lease, time.monotonic())
    assert not mandate.ended()
    os.kill(os.getpid(), signal.SIGTERM)
    assert mandate.ended()
    lease.close()


def test_an_order_to_an_earlier_supervisor_is_not_obeyed(layout):
    layout.stop.touch()
    layout.keep.touch()
    signals = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    watch = take_alone(layout.watch, time.monotonic() + 10)
    try:
        with Mandate(layout, 0.0, watch) as mandate:
            assert not mandate.ended()
    finally:
        watch.close()
        for signum, handler in signals.items():
            signal.signal(signum, handler)
