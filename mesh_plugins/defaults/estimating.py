"""How many tokens a call will take: UTF-8 length times a learned ratio, and a learned output.

Before anything was learned: 0.3 tokens a byte and 1,024 tokens of output. Both are learned per alias
from facts whose usage came from the provider.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from mesh_plugins.core.call import CallRequest, Receipt
from mesh_plugins.core.parameters import service_asked
from mesh_plugins.markers import hookimpl
from mesh_store.model.facts import Fact
from mesh_store.model.snapshot import Alias, Target
from mesh_store.model.usage import Usage

_FIRST_RATIO = 0.3
_FIRST_OUTPUT = 1_024
_MOST_ALIASES = 1_024
#: Answers after which the percentile is taken anew.
_SORTED_EVERY = 8


class _Learned:
    """What one alias has taught: tokens per byte, and the 95th percentile of the last 128 outputs."""

    __slots__ = ("outputs", "p95", "ratio", "unsorted")

    def __init__(self) -> None:
        self.ratio = _FIRST_RATIO
        self.outputs: deque[int] = deque(maxlen=128)
        self.unsorted = 0
        self.p95 = _FIRST_OUTPUT

    def learn(self, text_bytes: int, input_tokens: int, output_tokens: int) -> None:
        if text_bytes >= 32:
            self.ratio += 0.1 * (min(1.0, input_tokens / text_bytes) - self.ratio)
        self.outputs.append(output_tokens)
        self.unsorted += 1
        if self.unsorted >= _SORTED_EVERY:
            self.unsorted = 0
            self.p95 = max(1, sorted(self.outputs)[len(self.outputs) * 95 // 100])


class Estimating:
    """Estimates a call's tokens, and learns from what calls really took."""

    def __init__(self) -> None:
        self._learned: OrderedDict[str, _Learned] = OrderedDict()

    @hookimpl(trylast=True)
    def mesh_estimate(self, request: CallRequest, alias: Alias, target: Target) -> Usage:
        """Return the likely input, and the lesser of the caller's cap and the learned output."""
        learned = self._learned.get(request.alias)
        ratio, output = (learned.ratio, learned.p95) if learned else (_FIRST_RATIO, _FIRST_OUTPUT)
        if request.operation == "embeddings":
            output = 0
        for cap in (request.max_tokens, target.max_output_tokens):
            if cap is not None:
                output = min(output, cap)
        return Usage(
            request.size.estimate(ratio),
            output,
            estimated=True,
            service=service_asked(request, alias, target),
        )

    @hookimpl(trylast=True)
    def mesh_fact(self, receipt: Receipt | None, fact: Fact) -> None:
        """Learn from a complete answer whose usage the provider stated."""
        if receipt is None or fact.outcome != "ok" or fact.estimated or fact.operation == "embeddings":
            return
        request = receipt.outcome.reservation.plan.request
        learned = self._learned.get(request.alias)
        if learned is None:
            if len(self._learned) >= _MOST_ALIASES:
                self._learned.popitem(last=False)
            learned = self._learned[request.alias] = _Learned()
        learned.learn(request.size.text_bytes, fact.input_tokens, fact.output_tokens)
