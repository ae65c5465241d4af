"""``python -m mesh_store.embedded HOME LINGER BINDIR SERVER REPORT``: what ``attach`` runs."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from mesh_store.embedded.layout import Layout
from mesh_store.embedded.supervisor import detach, supervise


def main(arguments: list[str]) -> None:
    home, linger, bindir, valkey_server, descriptor = arguments
    layout, pipe = Layout(Path(home)), int(descriptor)
    os.set_inheritable(pipe, False)
    detach(layout)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # whoever started us may be gone already

    def report(outcome: str, reason: str) -> None:
        with suppress(OSError):  # nobody waits any more; the engines live by their leases
            os.write(pipe, json.dumps({"outcome": outcome, "reason": reason}).encode())
            os.close(pipe)

    supervise(layout, float(linger), Path(bindir), Path(valkey_server), report)


if __name__ == "__main__":
    main(sys.argv[1:])
