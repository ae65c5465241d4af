"""What limits that are not hard take of a call before it is made: its estimate, by dimension."""

from __future__ import annotations

from mesh_store.model.usage import Usage


def soft_amounts(estimate: Usage, cost: int | None) -> dict[str, int]:
    """Return what each dimension takes.

    Args:
        estimate: the tokens a call will likely take.
        cost: what they cost, pico-USD; None where nobody knows, or no limit asks.
    """
    sent, said = estimate.input_tokens, estimate.output_tokens
    return {
        "requests": 1,
        "concurrency": 1,
        "input_tokens": sent,
        "output_tokens": said,
        "tokens": sent + said,
        "usd": cost or 0,
    }
