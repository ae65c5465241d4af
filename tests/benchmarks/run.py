"""Everything we claim about speed, measured against named peers with one command.

::

    python tests/benchmarks/run.py [--out DIR] [--rounds 5] [--seconds 1] [--callers 1,32] [--only TEXT]

Needs the ``embedded``, ``litellm``, ``langchain`` and ``report`` extras; peers are installed into
environments of their own, once. Who cannot be installed or started is named in the table. All contenders
make the same call to the same upstream from the same load generator, a process each, in interleaved rounds;
a slice during which others used more than a tenth of the machine is measured again. Ratios are what counts.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import uuid
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from suite import report, services  # noqa: E402 - found beside this file
from suite.contenders import Ground, contenders  # noqa: E402
from suite.environments import Environments  # noqa: E402
from suite.machine import MARK, Foreign  # noqa: E402
from suite.rounds import measure  # noqa: E402

from mesh_plugins.testing.playground import Playground  # noqa: E402

LIMITS = tuple(f"9000M {what}/hour" for what in ("requests", "input tokens", "output tokens", "tokens"))


def main() -> None:
    """Measure, write the results, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--callers", default="1,32")
    parser.add_argument("--only", default="", help="contenders whose name has this; the floor always runs")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    mark = uuid.uuid4().hex
    os.environ[MARK] = mark
    environments = Environments(options.out / "environments")
    with Playground(limits=LIMITS) as playground, services.upstream() as url, services.valkey() as redis_url:
        playground.admin.update_provider("east", base_url=url)
        ground = Ground(url, redis_url, environments)
        everybody = [
            one
            for at, one in enumerate(contenders(ground))
            if not at or options.only.lower() in one.name.lower()
        ]
        found = measure(
            everybody,
            ground,
            Foreign(mark),
            callers=[int(count) for count in options.callers.split(",")],
            rounds=options.rounds,
            seconds=options.seconds,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
    more = {
        "Rounds": options.rounds,
        "Seconds a slice": options.seconds,
        "Slices measured again": found.refused,
    }
    more |= {"Processors": os.cpu_count() or 1, "Python": platform.python_version()}
    print(report.write(found, options.out, more=more).read_text())


if __name__ == "__main__":
    main()
