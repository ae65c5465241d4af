"""What the magics show: small objects that Jupyter renders by themselves, and text elsewhere."""

from __future__ import annotations

from contextlib import suppress
from html import escape
from typing import Any, Self

from mesh_plugins.core.plan import plan_call
from mesh_plugins.mesh import Mesh
from mesh_store.model.errors import ConfigUnavailable, MeshError, QuotaExceeded
from mesh_store.model.limits import Charge
from mesh_store.model.money import format_usd
from mesh_store.model.snapshot import LimitRule

_BAR = 24


class _Table:
    """Rows of two or more cells."""

    def __init__(self, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        self.head, self.rows = head, rows

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self.head)
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def __repr__(self) -> str:
        return "\n".join("  ".join(row) for row in self.rows)


class StatusTable(_Table):
    """What this process sees of its mesh."""

    @classmethod
    def of(cls, mesh: Mesh) -> Self:
        """Look at a mesh."""
        with suppress(ConfigUnavailable):  # the first look waits for Redis' first answer
            mesh.config.snapshot()
        status, health = mesh.status(), mesh.telemetry_health()
        age = "never" if status.age_s is None else f"{status.age_s:.1f} s ago"
        return cls(
            ("what", "how it stands"),
            [
                ("configuration", f"revision {status.revision}, {status.state}, confirmed {age}"),
                ("telemetry", f"{health.mode}, {health.emitted} records, {health.dropped} dropped"),
                ("on their way", f"{health.used_bytes:,} bytes, oldest {health.oldest_age_s:.1f} s"),
                ("errors", health.last_error or "none"),
            ],
        )


class QuotaTable(_Table):
    """What is left of every limit that binds a call of one alias."""

    @classmethod
    def of(cls, mesh: Mesh, alias: str) -> Self:
        """Ask the limits without taking anything."""
        request = mesh.request("chat", alias, {"messages": []}, max_tokens=1, host="notebook")
        plan = plan_call(request, mesh.config.snapshot(), mesh.hooks)
        asked = [Charge(charge.key, charge.limit, 0) for charge in plan.charges]
        left = mesh.limiter.peek(asked).remaining if asked else ()
        return cls(
            ("limit", "left", ""),
            [
                (f"{rule.label}: {rule.text}", _of(rule, units), _bar(units, _whole(rule)))
                for rule, units in zip(plan.rules, left, strict=True)
            ],
        )


class Answer:
    """A reply, shown as Markdown with what it took underneath."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply

    @classmethod
    def refused(cls, error: MeshError) -> _Table:
        """Say why there is no answer."""
        rows = [(type(error).__name__, str(error))]
        if isinstance(error, QuotaExceeded) and error.retry_after is not None:
            rows.append(("retry after", f"{error.retry_after:.1f} s"))
        return _Table(("refused", "why"), list(rows))

    def _repr_markdown_(self) -> str:
        mesh = self.reply.mesh
        cost = "unpriced" if mesh.cost is None else f"${mesh.cost:.6f}"
        tokens = f"{mesh.usage.input_tokens} + {mesh.usage.output_tokens} tokens"
        return f"{self}\n\n<small>{mesh.target} · {tokens} · {cost} · revision {mesh.revision}</small>"

    def __str__(self) -> str:
        return self.reply.choices[0].message.content or ""

    __repr__ = __str__


def _whole(rule: LimitRule) -> int:
    return rule.limit.burst if rule.limit.kind == "rate" else rule.limit.amount


def _of(rule: LimitRule, left: int) -> str:
    whole = _whole(rule)
    return (
        f"{format_usd(left)} of {format_usd(whole)}" if rule.dimension == "usd" else f"{left:,} of {whole:,}"
    )


def _bar(left: int, whole: int) -> str:
    filled = 0 if whole <= 0 else max(0, min(_BAR, round(_BAR * left / whole)))
    return "█" * filled + "░" * (_BAR - filled)
