"""What happened, from the call to Postgres: exactly once, without making anybody wait.

::

    Recorder ──► ring (a file) ──► shipper (a thread) ──► stream (Redis) ──► collector ──► Postgres
                   ▲                                                             │
                   └───────────────── committed ranges ◄─────────────────────────┘

Importing this is cheap: the collector, which needs Postgres, is imported from its own module.
"""

from mesh_store.telemetry.adoption import Adopted
from mesh_store.telemetry.draining import drain
from mesh_store.telemetry.health import Health
from mesh_store.telemetry.recorder import Recorder
from mesh_store.telemetry.settling import Settler

__all__ = ["Adopted", "Health", "Recorder", "Settler", "drain"]
