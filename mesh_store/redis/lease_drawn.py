"""The decision of a call that drew from a lease; what few look at is worked out for them alone."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from mesh_store.model.limits import Reservation
from mesh_store.redis.lease_desk import Lease


class Drawn(msgspec.Struct, gc=False):
    """An admission with the attributes of a `Decision`: most of them are the same for all.

    A struct of its own, because building a `Decision` would take longer than all of the rest.
    """

    reservation: Reservation
    lease: Lease

    admitted: ClassVar[bool] = True
    retry_after_us: ClassVar[int] = 0
    binding: ClassVar[None] = None
    wait_us: ClassVar[int] = 0
    enforced: ClassVar[bool] = True
    granted: ClassVar[None] = None
    shadow_denied: ClassVar[tuple[int, ...]] = ()

    @property
    def remaining(self) -> tuple[int, ...]:
        """Units left of each limit: here, and in Redis when the slice was taken."""
        lease = self.lease
        return tuple([max(0, left) + rest for left, rest in zip(lease.left, lease.remaining, strict=True)])

    @property
    def reset_after_us(self) -> tuple[int, ...]:
        """Until each limit is full again, as of when the slice was taken."""
        return self.lease.reset_after_us
