-- Usage: facts by day, their rollups, what could not be taken, and the ledger of budgets.
-- Ids of teams, users, keys and aliases are text without foreign keys: a fact must be kept even when
-- the thing it names is unknown here.

-- name: usage_events
-- One row per fact. Partitioned by day over the id (a UUIDv7 begins with its millisecond), because a
-- primary key must hold the partition key, and exactly-once rests on an id that is unique everywhere.
CREATE TABLE usage_events (
    id uuid NOT NULL,
    call_id uuid NOT NULL,
    attempt bigint NOT NULL,
    started_at timestamptz NOT NULL,
    duration_us bigint NOT NULL,
    ttft_us bigint,
    outcome text NOT NULL,
    operation text NOT NULL,
    host text NOT NULL,
    stream boolean NOT NULL,
    team_id text NOT NULL,
    user_id text,
    key_id text NOT NULL,
    alias text NOT NULL,
    alias_id text,
    revision bigint NOT NULL,
    provider_id text,
    provider text,
    request_model text,
    response_model text,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    audio_input_tokens bigint NOT NULL,
    audio_output_tokens bigint NOT NULL,
    estimated boolean NOT NULL,
    cost_pico_usd numeric,
    rate_card text,
    estimate_tokens bigint NOT NULL,
    estimate_pico_usd numeric,
    finish_reason text,
    error_type text,
    status bigint,
    response_id text,
    session text,
    end_user text,
    tags jsonb NOT NULL,
    trace_id text,
    span_id text,
    reservation_id text,
    flags text[] NOT NULL,
    version bigint NOT NULL,
    received_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_usage_events PRIMARY KEY (id)
) PARTITION BY RANGE (id)

-- name: usage_events_started_at
CREATE INDEX ix_usage_events_started_at ON usage_events USING brin (started_at)

-- name: usage_rollups
-- Sums of usage_events per minute and per day (UTC); '' stands for NULL in the dimensions. Bucket 0 of a
-- histogram counts below 1 ms, bucket k from 2^(k-1) to 2^k ms, the last (19) everything from 262 s.
CREATE TABLE usage_rollups (
    grain text NOT NULL,
    starts_at timestamptz NOT NULL,
    team_id text NOT NULL,
    user_id text NOT NULL,
    key_id text NOT NULL,
    alias text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    calls bigint NOT NULL,
    attempts bigint NOT NULL,
    denied bigint NOT NULL,
    errors bigint NOT NULL,
    cancelled bigint NOT NULL,
    lost bigint NOT NULL,
    estimated bigint NOT NULL,
    unpriced bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    audio_input_tokens bigint NOT NULL,
    audio_output_tokens bigint NOT NULL,
    cost_pico_usd numeric NOT NULL,
    duration_us bigint NOT NULL,
    latency bigint[] NOT NULL,
    ttft bigint[] NOT NULL,
    CONSTRAINT pk_usage_rollups
        PRIMARY KEY (grain, starts_at, team_id, user_id, key_id, alias, provider, model),
    CONSTRAINT ck_usage_rollups_grain_known CHECK (grain IN ('minute', 'day'))
) WITH (fillfactor = 70)

-- name: telemetry_dead
-- What could not be taken: kept as it came, with the reason; the digest keeps repeats out.
CREATE TABLE telemetry_dead (
    digest bytea NOT NULL,
    at timestamptz DEFAULT now() NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    ring text NOT NULL,
    body bytea NOT NULL,
    CONSTRAINT pk_telemetry_dead PRIMARY KEY (digest)
)

-- name: budget_windows
-- The ledger of budgets: what was spent under one key in one calendar window, in pico-USD. The version
-- is raised by every change, so that Redis can tell an older sum from a newer one.
CREATE TABLE budget_windows (
    key text NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    spent_pico_usd numeric NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT pk_budget_windows PRIMARY KEY (key, starts_at)
)

-- name: budget_settlements
-- Settlements whose fact had been dropped by a full ring: the money counts once all the same.
CREATE TABLE budget_settlements (
    reservation_id text NOT NULL,
    at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_budget_settlements PRIMARY KEY (reservation_id)
)
