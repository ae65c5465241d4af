"""What was used: one row per fact, sums per minute, hour and day, and what could not be taken.

Written by the collector with COPY and SQL (`mesh_store.postgres.usage_write`), read with Core; the
partitions of ``usage_events`` are made as time passes (`mesh_store.postgres.usage_partitions`).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    LargeBinary,
    Numeric,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from mesh_store.postgres.base import metadata

_MOMENT = DateTime(timezone=True)

usage_events = Table(
    "usage_events",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("call_id", Uuid(as_uuid=False), nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("started_at", _MOMENT, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("ttft_us", BigInteger),
    Column("outcome", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("team_id", Text, nullable=False),
    Column("user_id", Text),
    Column("key_id", Text, nullable=False),
    Column("alias", Text, nullable=False),
    Column("alias_id", Text),
    Column("revision", BigInteger, nullable=False),
    Column("provider_id", Text),
    Column("provider", Text),
    Column("request_model", Text),
    Column("response_model", Text),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("audio_input_tokens", BigInteger, nullable=False),
    Column("audio_output_tokens", BigInteger, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("cost_pico_usd", Numeric),
    Column("rate_card", Text),
    Column("estimate_tokens", BigInteger, nullable=False),
    Column("estimate_pico_usd", Numeric),
    Column("finish_reason", Text),
    Column("error_type", Text),
    Column("status", BigInteger),
    Column("response_id", Text),
    Column("session", Text),
    Column("end_user", Text),
    Column("tags", JSONB, nullable=False),
    Column("trace_id", Text),
    Column("span_id", Text),
    Column("reservation_id", Text),
    Column("flags", ARRAY(Text), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("cache_write_1h_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("service", Text),
    Column("image_input_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("image_output_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("settled_tokens", BigInteger),
    Column("settled_pico_usd", Numeric),
    Column("received_at", _MOMENT, nullable=False, server_default=func.now()),
    Index("ix_usage_events_started_at", "started_at", postgresql_using="brin"),
    postgresql_partition_by="RANGE (id)",
)

#: The sums of a rollup, in the order of its columns.
SUMS = (
    "calls",
    "attempts",
    "denied",
    "errors",
    "cancelled",
    "lost",
    "estimated",
    "unpriced",
    "shadow_denied",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
)

#: Sums of each key, and per hour and day of each team, its users and keys together.
_GRAINS = "grain IN ('minute', 'hour', 'day', 'team hour', 'team day')"

usage_rollups = Table(
    "usage_rollups",
    metadata,
    Column("grain", Text, primary_key=True),
    Column("starts_at", _MOMENT, primary_key=True),
    *[
        Column(name, Text, primary_key=True)
        for name in ("team_id", "user_id", "key_id", "alias", "provider", "model")
    ],
    *[Column(name, BigInteger, nullable=False) for name in SUMS],
    Column("cost_pico_usd", Numeric, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("latency", ARRAY(BigInteger), nullable=False),
    Column("ttft", ARRAY(BigInteger), nullable=False),
    Column("last_at", _MOMENT, nullable=False),
    CheckConstraint(_GRAINS, name="grain_known"),
    Index("ix_usage_rollups_key_id", "key_id", "starts_at", postgresql_where=text("grain = 'day'")),
    postgresql_partition_by="LIST (grain)",
)

#: What re-pricing changed: a fact costs what its row says plus these.
adjustments = Table(
    "adjustments",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("fact_id", Uuid(as_uuid=False), nullable=False),
    Column("started_at", _MOMENT, nullable=False),
    *[
        Column(name, Text, nullable=False)
        for name in ("team_id", "user_id", "key_id", "alias", "provider", "model")
    ],
    Column("cost_pico_usd", Numeric, nullable=False),
    Column("priced", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", _MOMENT, nullable=False, server_default=func.now()),
    Index("ix_adjustments_fact_id", "fact_id"),
    Index("ix_adjustments_started_at", "started_at"),
)

#: Sums of the adjustments, added to by a trigger on them.
adjustment_rollups = Table(
    "adjustment_rollups",
    metadata,
    Column("grain", Text, primary_key=True),
    Column("starts_at", _MOMENT, primary_key=True),
    *[
        Column(name, Text, primary_key=True)
        for name in ("team_id", "user_id", "key_id", "alias", "provider", "model")
    ],
    Column("newly_priced", BigInteger, nullable=False),
    Column("cost_pico_usd", Numeric, nullable=False),
    CheckConstraint(_GRAINS, name="grain_known"),
    postgresql_partition_by="LIST (grain)",
)

telemetry_dead = Table(
    "telemetry_dead",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("at", _MOMENT, nullable=False, server_default=func.now()),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("ring", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("ix_telemetry_dead_at", "at"),
)

budget_windows = Table(
    "budget_windows",
    metadata,
    Column("key", Text, primary_key=True),
    Column("starts_at", _MOMENT, primary_key=True),
    Column("ends_at", _MOMENT, nullable=False),
    Column("spent_pico_usd", Numeric, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("untold_pico_usd", Numeric, nullable=False, server_default=text("0")),
)

budget_settlements = Table(
    "budget_settlements",
    metadata,
    Column("reservation_id", Text, primary_key=True),
    Column("at", _MOMENT, nullable=False, server_default=func.now()),
)

#: Which threshold of which window was told to whom.
budget_alerts = Table(
    "budget_alerts",
    metadata,
    Column("limit_id", Text, primary_key=True),
    Column("starts_at", _MOMENT, primary_key=True),
    Column("ends_at", _MOMENT, nullable=False),
    Column("percent", BigInteger, primary_key=True),
    Column("recipient", Text, primary_key=True),
)
