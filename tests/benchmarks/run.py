"""Everything we claim about speed and size, measured against named peers with one command.

::

    python tests/benchmarks/run.py [--out DIR] [--only FAMILY[,FAMILY]] [--quick | --full] [--record]

Families: ``calls`` (who calls a provider, and through what), ``limiter``, ``telemetry``, ``config``,
``usage``, ``growth`` (how cost grows with callers, processes, limits and keys), ``facts`` (how reports take
as facts pile up), ``cost`` (what one call costs each engine) and ``scale`` (clusters of one to three
primaries). Needs the ``all`` extra and the ``bench`` and ``test`` groups; peers are installed into
environments of their own, once. Under 20 minutes on two cores after that; ``--quick`` takes a look in a few
minutes, ``--full`` goes on to ten million facts.

Who cannot be installed or started is named in the results. Contenders of a table are measured in
interleaved rounds; a slice during which others used more than a tenth of the machine is measured again.
Ratios are what counts. ``DIR`` gets ``results.json``, ``results.md`` and plots; ``--record`` keeps the
figures beside this file and writes what the README says of them anew.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import time
import traceback
import uuid
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from suite import report  # noqa: E402 - found beside this file
from suite.about import about, ours  # noqa: E402
from suite.book import Book, Page  # noqa: E402
from suite.environments import Environments  # noqa: E402
from suite.machine import MARK, MOST_ATTEMPTS, Foreign  # noqa: E402
from suite.readme import record  # noqa: E402
from suite.stage import Stage  # noqa: E402

FAMILIES = ("calls", "limiter", "telemetry", "config", "usage", "growth", "facts", "cost", "scale")


def asked() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--environments", type=Path, help="where peers are installed; in DIR unless said")
    parser.add_argument("--only", default=",".join(FAMILIES), metavar="FAMILY[,FAMILY]")
    parser.add_argument("--contender", default="", help="of calls, those whose name has this, and the floor")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a slice")
    parser.add_argument("--attempts", type=int, default=MOST_ATTEMPTS, help="at a slice; 1 on a busy machine")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="two short rounds, small sizes")
    size.add_argument("--full", action="store_true", help="ten million facts, too")
    parser.add_argument("--record", action="store_true", help="keep the figures, and tell them in the README")
    options = parser.parse_args()
    options.families = options.only.split(",")
    if unknown := set(options.families) - set(FAMILIES):
        parser.error(f"no family {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    if importlib.util.find_spec("matplotlib") is None:
        parser.error("plots need matplotlib: pip install --group bench")
    if options.quick:
        options.rounds, options.seconds = 2, 0.3
    return options


def main() -> int:
    """Measure, write the results, and print the tables; a family that fails is named, and the end is 1."""
    options = asked()
    warnings.simplefilter("ignore")
    mark = uuid.uuid4().hex
    os.environ[MARK] = mark
    stage = Stage(
        Environments(options.environments or options.out / "environments"),
        Foreign(mark, options.attempts),
        rounds=options.rounds,
        seconds=options.seconds,
        quick=options.quick,
        full=options.full,
        only=options.contender,
    )
    quiet = options.attempts > 1 and not options.quick
    book = Book(about=about(HERE, options.rounds, options.seconds, quiet=quiet), versions=ours())
    failed = []
    for family in options.families:
        failed += [] if measured(family, book, stage) else [family]
        book.refused = stage.foreign.refused
        report.keep(book, options.out)
    print(report.write(book, options.out).read_text())
    if options.record and not failed:
        record(book, HERE)
    return 1 if failed else 0


def measured(family: str, book: Book, stage: Stage) -> bool:
    """Run one family; tell whether it came to its end."""
    stage.say(f"== {family}")
    began = time.monotonic()
    try:
        importlib.import_module(f"suite.families.{family}").run(Page(book, family), stage)
    except Exception as error:
        traceback.print_exc()
        book.missing[f"family {family}"] = f"{type(error).__name__}: {error}"
        return False
    finally:
        book.seconds[family] = time.monotonic() - began
    return True


if __name__ == "__main__":
    sys.exit(main())
