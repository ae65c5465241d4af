"""What a first call imports, it imports before its attempt begins: facts tell the provider's latency."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import asyncio, sys, threading
from mesh_plugins import senders
from mesh_plugins.testing.memory import MemoryMesh
from mesh_plugins.testing.provider import StandInProvider

library, door = sys.argv[1:]
there = []

def looking(method):
    def look(self, call):
        there.append(library in sys.modules)
        return method(self, call)
    return look

async def every(chunks):
    return [chunk async for chunk in chunks]

for name in ("send", "asend", "stream", "astream"):
    setattr(senders.SenderByKind, name, looking(getattr(senders.SenderByKind, name)))
with StandInProvider() as provider:
    mesh = MemoryMesh(provider=provider)
    # As for a Mesh that was given no sender.
    mesh._sender = None
    mesh._speaks_in_threads = mesh._speaks_interruptibly = mesh._speaks_on_loops = False
    ask = [{"role": "user", "content": "hello"}]
    if door.startswith("ChatMesh") or door.startswith("MeshEmbeddings"):
        from mesh_plugins.hosts.langchain import ChatMesh, MeshEmbeddings
    before = library in sys.modules
    match door:
        case "chat": mesh.chat("fast", ask)
        case "chat in a thread":
            thread = threading.Thread(target=mesh.chat, args=("fast", ask))
            thread.start()
            thread.join()
        case "stream": list(mesh.stream("fast", ask))
        case "embed": mesh.embed("fast", "hello")
        case "achat": asyncio.run(mesh.achat("fast", ask))
        case "ChatMesh.invoke": ChatMesh(model="fast", mesh=mesh).invoke("hello")
        case "ChatMesh.ainvoke": asyncio.run(ChatMesh(model="fast", mesh=mesh).ainvoke("hello"))
        case "ChatMesh.astream": asyncio.run(every(ChatMesh(model="fast", mesh=mesh).astream("hello")))
        case "MeshEmbeddings.aembed_query":
            asyncio.run(MeshEmbeddings(model="fast", mesh=mesh).aembed_query("hello"))
print(before, there)
"""
THREADS, LOOPS = "pyreqwest.client", "mesh_plugins.http.aiohttp"
MAIN = "mesh_plugins.http.interruptible"


@pytest.mark.parametrize(
    ("library", "door"),
    [
        (MAIN, "chat"),
        (THREADS, "chat in a thread"),
        (MAIN, "stream"),
        (MAIN, "embed"),
        (MAIN, "ChatMesh.invoke"),
        (LOOPS, "achat"),
        (LOOPS, "ChatMesh.ainvoke"),
        (LOOPS, "ChatMesh.astream"),
        (LOOPS, "MeshEmbeddings.aembed_query"),
    ],
)
def test_of_a_first_call(library, door):
    done = subprocess.run([sys.executable, "-c", CODE, library, door], capture_output=True, text=True)

    assert done.stdout.strip() == "False [True]", done.stderr
