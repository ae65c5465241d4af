"""pyreqwest's library, first used in a thread that is gone when the next one calls (see `http.native`)."""

from __future__ import annotations

import subprocess
import sys

_CALLS = """
import threading
from mesh_plugins.http.pyreqwest import PyreqwestTransport
from mesh_plugins.http.transport import HttpRequest
from mesh_plugins.testing.provider import StandInProvider

with StandInProvider() as provider:
    transport = PyreqwestTransport()
    answers = []
    def call():
        url = provider.base_url + "/chat/completions"
        request = HttpRequest(url=url, headers={}, body=b'{"model": "m", "messages": []}', timeout_s=10.0)
        answers.append(transport.send(request).status)
    for _ in range(4):
        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    transport.close()
print(answers)
"""


def test_the_process_survives_it():
    ended = subprocess.run([sys.executable, "-c", _CALLS], capture_output=True, text=True, timeout=240)
    assert (ended.returncode, ended.stdout.strip()) == (0, str([200] * 8)), ended.stderr[-2000:]
