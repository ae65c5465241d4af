"""Money: integer pico-USD inside, ``Decimal`` at the edges.

Pico, because list prices such as $0.0375 per million tokens are 37.5 nano-USD a token.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

#: Pico-USD in one USD.
PICO = 10**12


def pico_usd(amount: Decimal | int | str) -> int:
    """Convert an amount of USD to pico-USD, rounding half to even.

    Raises:
        ValueError: for NaN, infinities and floats (write them as text).
    """
    if isinstance(amount, float):
        raise ValueError("money is never a float: pass Decimal or text")
    value = Decimal(amount)
    if not value.is_finite():
        raise ValueError(f"{amount!r} is not an amount of money")
    return int((value * PICO).to_integral_value(rounding=ROUND_HALF_EVEN))


def usd(pico: int) -> Decimal:
    """Convert pico-USD to an exact ``Decimal`` of USD."""
    return Decimal(pico) / PICO


def format_usd(pico: int | None) -> str:
    """Show an amount as people read it: ``$0.0042``, ``$12.50``, ``unpriced`` for None."""
    if pico is None:
        return "unpriced"
    value = usd(pico)
    if value == 0 or abs(value) >= 1:
        return f"${value:,.2f}"
    digits = max(2, 1 - value.adjusted() + 1)
    return f"${value:.{digits}f}"
