"""The stream of content samples: apart from facts, trimmed by whoever adds, and never in anybody's way.

================  ==================================================================================
``mesh:samples``  stream; one entry is one sample. Callers may add to it and not read it
================  ==================================================================================
"""

from __future__ import annotations

SAMPLES = "mesh:samples"
GROUP = "collectors"
#: Samples that wait for a collector at most, about: 32 MiB of the longest.
MAXLEN = 1_000
#: Share of ``maxmemory`` above which samples are dropped; facts go on to 70 %.
STOP = 0.50
