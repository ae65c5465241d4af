"""A collector in a process of its own, to be killed; run by the tests, never imported by them.

Usage: collecting.py DATABASE_URL REDIS_URL
"""

from __future__ import annotations

import asyncio
import sys

from mesh_store.telemetry.collector import Collector

if __name__ == "__main__":
    asyncio.run(Collector(sys.argv[1], sys.argv[2], claim_s=0.5).run(asyncio.Event()))
