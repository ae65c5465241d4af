"""What importing Mesh costs: CPU time and memory, beside litellm and the HTTP clients people know.

::

    python tests/benchmarks/bench_import.py [--rounds 7]

Every import is a fresh interpreter; rounds are interleaved, an empty one is taken off, medians are told. The
requirement: ``import mesh_plugins`` takes at most a tenth of what ``import litellm`` takes of either.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from importlib.util import find_spec

NOTHING = "pass"
CASES = {
    "nothing": NOTHING,
    "import mesh_plugins": "import mesh_plugins",
    "from mesh_plugins import Mesh": "from mesh_plugins import Mesh",
    "hosts.litellm": "import mesh_plugins.hosts.litellm",
    "ChatMesh": "from mesh_plugins.hosts.langchain import ChatMesh",
    "langchain_core's chat models": "import langchain_core.language_models.chat_models",
    "import httpx": "import httpx",
    "import openai": "import openai",
    "import litellm": "import litellm",
}
_NEEDS = {"ChatMesh": "langchain_core", "langchain_core's chat models": "langchain_core"}
#: Linux' ru_maxrss remembers the process before exec, so the kernel's own mark is read where there is one.
_TOLD = """
import os, resource, sys
used = resource.getrusage(resource.RUSAGE_SELF)
mib = used.ru_maxrss / 2**20
if os.path.exists("/proc/self/status"):
    mib = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 2**10
print(used.ru_utime + used.ru_stime, mib)
"""


def measure(code: str) -> tuple[float, float]:
    """Return CPU seconds and MiB of an interpreter that runs ``code``."""
    environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [sys.executable, "-c", code + "\n" + _TOLD], capture_output=True, text=True, check=True, env=environ
    )
    seconds, mib = done.stdout.split()[-2:]
    return float(seconds), float(mib)


def installed(name: str, code: str) -> bool:
    """Tell whether there is anything to import."""
    return code == NOTHING or find_spec(_NEEDS.get(name) or code.split()[1].partition(".")[0]) is not None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    cases = {name: code for name, code in CASES.items() if installed(name, code)}
    for code in cases.values():
        measure(code)  # byte code and the page cache
    told: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, code in cases.items():
            told[name].append(measure(code))
    medians = {
        name: tuple(statistics.median(each[at] for each in values) for at in (0, 1))
        for name, values in told.items()
    }
    base = medians["nothing"]
    ours = [medians["import mesh_plugins"][at] - base[at] for at in (0, 1)]
    print(f"{'':32}{'CPU ms':>10}{'MiB':>8}   import mesh_plugins is")
    for name, (seconds, mib) in medians.items():
        cpu, memory = seconds - base[0], mib - base[1]
        share = (
            f"{ours[0] / cpu:8.3f} of its CPU, {ours[1] / memory:.3f} of its memory" if cpu > 0.001 else ""
        )
        print(f"{name:32}{cpu * 1e3:10.1f}{memory:8.1f}   {share}")


if __name__ == "__main__":
    main()
