"""Make each deliberate bug, run its tests, and say which survive.

python -m tests.mutations.run [WORD…]      only bugs whose phrase or file has one of the words
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.mutations.mutant import Copy
from tests.mutations.table import mutations


def main(*words: str) -> int:
    """Print a line for each bug; 1 when one survived."""
    chosen = [
        each for each in mutations() if not words or any(word in f"{each.bug} {each.file}" for word in words)
    ]
    survivors = []
    with tempfile.TemporaryDirectory() as home:
        copy = Copy(Path(home))
        for each in chosen:
            done = copy.with_bug(each)
            word = {0: "SURVIVED", 1: "noticed"}.get(done.code, "BROKEN")
            print(f"{word:9} {each.file}: {each.bug}", flush=True)
            if done.code != 1:
                survivors.append(each)
                print(done.said)
    print(f"{len(chosen)} bugs, {len(survivors)} not noticed")
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
