"""What a first call imports, it imports before its attempt begins: facts tell the provider's latency."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import asyncio, sys
from mesh_plugins import senders
from mesh_plugins.testing.memory import MemoryMesh
from mesh_plugins.testing.provider import StandInProvider

asend, there = senders.SenderByKind.asend, []

def looking(self, call):
    there.append("mesh_plugins.http.aiohttp" in sys.modules)
    return asend(self, call)

senders.SenderByKind.asend = looking
with StandInProvider() as provider:
    mesh = MemoryMesh(provider=provider)
    mesh._sender, mesh._speaks_on_loops = None, False  # as for a Mesh that was given no sender
    before = "mesh_plugins.http.aiohttp" in sys.modules
    asyncio.run(mesh.achat("fast", [{"role": "user", "content": "hello"}]))
print(before, there)
"""


def test_a_first_call_on_an_event_loop():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False [True]"
