-- What re-pricing changed, summed like the facts themselves; and spans read with their bounds computed once.

-- name: sums
-- One row per minute, hour and day, as usage_rollups has them; newly_priced had no price before.
CREATE TABLE adjustment_rollups (
    grain text NOT NULL,
    starts_at timestamptz NOT NULL,
    team_id text NOT NULL,
    user_id text NOT NULL,
    key_id text NOT NULL,
    alias text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    newly_priced bigint NOT NULL,
    cost_pico_usd numeric NOT NULL,
    CONSTRAINT pk_adjustment_rollups PRIMARY KEY (
        grain, starts_at, team_id, user_id, key_id, alias, provider, model
    ),
    CONSTRAINT ck_adjustment_rollups_grain_known CHECK (grain IN ('minute', 'hour', 'day'))
) PARTITION BY LIST (grain)

-- name: minutes
CREATE TABLE adjustment_rollups_minute PARTITION OF adjustment_rollups FOR VALUES IN ('minute')

-- name: hours
CREATE TABLE adjustment_rollups_hour PARTITION OF adjustment_rollups FOR VALUES IN ('hour')

-- name: days
CREATE TABLE adjustment_rollups_day PARTITION OF adjustment_rollups FOR VALUES IN ('day')

-- name: so_far
INSERT INTO adjustment_rollups
SELECT
    grain, date_trunc(grain, started_at, 'UTC'), team_id, user_id, key_id, alias, provider, model,
    count(*) FILTER (WHERE priced), sum(cost_pico_usd)
FROM adjustments CROSS JOIN (VALUES ('minute'), ('hour'), ('day')) AS grains (grain)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8

-- name: roll
-- Whoever adds adjustments adds to their sums, in one statement and one order of locks.
CREATE FUNCTION roll_adjustments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO adjustment_rollups AS r
    SELECT
        grain, date_trunc(grain, started_at, 'UTC'), team_id, user_id, key_id, alias, provider, model,
        count(*) FILTER (WHERE priced), sum(cost_pico_usd)
    FROM added CROSS JOIN (VALUES ('minute'), ('hour'), ('day')) AS grains (grain)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
    ON CONFLICT (grain, starts_at, team_id, user_id, key_id, alias, provider, model) DO UPDATE SET
        newly_priced = r.newly_priced + excluded.newly_priced,
        cost_pico_usd = r.cost_pico_usd + excluded.cost_pico_usd;
    RETURN NULL;
END
$$

-- name: rolled
CREATE TRIGGER roll_adjustments AFTER INSERT ON adjustments
REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION roll_adjustments()

-- name: used
SELECT
    grain, starts_at, team_id, user_id, key_id, alias, provider, model, calls, attempts, denied, errors,
    cancelled, lost, estimated, unpriced, shadow_denied, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, cost_pico_usd, duration_us,
    latency, ttft, last_at
FROM usage_rollups

-- name: adjusted
-- The same shape: what re-pricing changed has no counts but of what had no price before.
SELECT
    grain, starts_at, team_id, user_id, key_id, alias, provider, model, 0, 0, 0, 0,
    0, 0, 0, -newly_priced, 0, 0, 0, 0,
    0, 0, 0, 0, cost_pico_usd, 0,
    array_fill(0::bigint, ARRAY[20]), array_fill(0::bigint, ARRAY[20]), starts_at
FROM adjustment_rollups

-- name: drawn
grain = usage_grain(since, until)
AND starts_at < until
AND starts_at >= (SELECT usage_floor(usage_grain(since, until), since))

-- name: usage_sums
-- What was used and what re-pricing changed of it, in one shape.
CREATE VIEW usage_sums AS {sums}

-- name: usage_upper
-- The moment that no longer counts; NULL when that is now: what is there is then all of it.
CREATE FUNCTION usage_upper(until timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT CASE WHEN until <= date_trunc('minute', now()) THEN until END
$$

-- name: usage_between
-- What was used in a span, to the minute, re-pricing included: whole days, the hours at both ends that are no
-- whole day, the minutes at both ends that are no whole hour. In: the first moment, the first moment that no
-- longer counts (NULL, or within this minute: no bound), and the coarsest grain rows may have: 'day', or
-- 'hour' or 'minute' for who groups by these. It is inlined, so a query reads the columns it names and no
-- more; bounds are queries of their own because they would be computed anew for each row otherwise.
CREATE FUNCTION usage_between(since timestamptz, until timestamptz, coarsest text DEFAULT 'day')
RETURNS SETOF usage_sums LANGUAGE sql STABLE PARALLEL SAFE AS $$ {between} $$

-- name: usage_drawn
-- A span as it is drawn: whole minutes, hours or days, whichever suits its length; the first and the last too.
CREATE FUNCTION usage_drawn(since timestamptz, until timestamptz)
RETURNS SETOF usage_sums LANGUAGE sql STABLE PARALLEL SAFE AS $$ {drawn} $$
