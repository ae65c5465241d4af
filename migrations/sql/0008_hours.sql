-- Sums per hour, when each key last called, and one way to read any span exactly from as few rows as can be.

-- name: allow_hours
ALTER TABLE usage_rollups DROP CONSTRAINT ck_usage_rollups_grain_known

-- name: known_grains
ALTER TABLE usage_rollups ADD CONSTRAINT ck_usage_rollups_grain_known CHECK (grain IN ('minute', 'hour', 'day'))

-- name: last_at
-- When the last of the facts began.
ALTER TABLE usage_rollups ADD COLUMN last_at timestamptz DEFAULT 'epoch' NOT NULL

-- name: last_at_so_far
UPDATE usage_rollups SET last_at = starts_at

-- name: last_at_is_given
ALTER TABLE usage_rollups ALTER COLUMN last_at DROP DEFAULT

-- name: hours_so_far
INSERT INTO usage_rollups (
    grain, starts_at, team_id, user_id, key_id, alias, provider, model, calls, attempts, denied, errors,
    cancelled, lost, estimated, unpriced, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, cost_pico_usd,
    duration_us, latency, ttft, last_at
)
SELECT
    'hour', date_trunc('hour', starts_at, 'UTC'), team_id, user_id, key_id, alias, provider, model,
    sum(calls), sum(attempts), sum(denied), sum(errors), sum(cancelled), sum(lost), sum(estimated),
    sum(unpriced), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
    sum(reasoning_tokens), sum(audio_input_tokens), sum(audio_output_tokens), sum(cost_pico_usd),
    sum(duration_us), {latency}, {ttft}, max(last_at)
FROM usage_rollups
WHERE grain = 'minute'
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8

-- name: by_key
-- The days on which a key called: few rows, for when it last did.
CREATE INDEX ix_usage_rollups_key_id ON usage_rollups (key_id, starts_at) WHERE grain = 'day'

-- name: usage_floor
-- The start of the minute, hour or day (UTC) of a moment; NULL is the end of time.
CREATE FUNCTION usage_floor(unit text, moment timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT date_trunc(unit, coalesce(moment, 'infinity'), 'UTC')
$$

-- name: usage_ceiling
-- The first start of a minute, hour or day (UTC) that is not before a moment; NULL is the beginning of time.
CREATE FUNCTION usage_ceiling(unit text, moment timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT date_trunc(
    unit,
    coalesce(moment, '-infinity') + ('1 ' || unit)::interval - interval '1 microsecond',
    'UTC'
)
$$

-- name: usage_between
-- What was used in a span, to the minute: whole days, the hours at both ends that are no whole day, the
-- minutes at both ends that are no whole hour, and what re-pricing changed (grain 'adjusted').
-- In: the first moment, the first moment that no longer counts (NULL: no bound), and the coarsest grain
-- rows may have: 'day', or 'hour' or 'minute' for who groups by these. It is inlined, so a query reads
-- the columns it names and no more.
CREATE FUNCTION usage_between(since timestamptz, until timestamptz, coarsest text DEFAULT 'day')
RETURNS TABLE ({types}) LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT {columns} FROM usage_rollups
WHERE
    grain = 'day'
    AND coarsest = 'day'
    AND starts_at >= usage_ceiling('day', since)
    AND starts_at < usage_floor('day', until)
UNION ALL
SELECT {columns} FROM usage_rollups
WHERE
    grain = 'hour'
    AND coarsest <> 'minute'
    AND starts_at >= usage_ceiling('hour', since)
    AND starts_at < least(
        usage_floor('hour', until),
        CASE WHEN coarsest = 'day' THEN usage_ceiling('day', since) ELSE 'infinity' END
    )
UNION ALL
SELECT {columns} FROM usage_rollups
WHERE
    grain = 'hour'
    AND coarsest = 'day'
    AND starts_at >= greatest(usage_ceiling('day', since), usage_floor('day', until))
    AND starts_at < usage_floor('hour', until)
UNION ALL
SELECT {columns} FROM usage_rollups
WHERE
    grain = 'minute'
    AND starts_at >= usage_floor('minute', coalesce(since, '-infinity'))
    AND starts_at < least(
        coalesce(until, 'infinity'),
        CASE WHEN coarsest = 'minute' THEN 'infinity' ELSE usage_ceiling('hour', since) END
    )
UNION ALL
SELECT {columns} FROM usage_rollups
WHERE
    grain = 'minute'
    AND coarsest <> 'minute'
    AND starts_at >= greatest(usage_ceiling('hour', since), usage_floor('hour', until))
    AND starts_at < coalesce(until, 'infinity')
UNION ALL
SELECT
    'adjusted', started_at, team_id, user_id, key_id, alias, provider, model, 0, 0, 0, 0, 0, 0, 0,
    CASE WHEN priced THEN -1 ELSE 0 END, 0, 0, 0, 0, 0, 0, 0, cost_pico_usd, 0,
    array_fill(0::bigint, ARRAY[20]), array_fill(0::bigint, ARRAY[20]), started_at
FROM adjustments
WHERE
    started_at >= usage_floor('minute', coalesce(since, '-infinity'))
    AND started_at < coalesce(until, 'infinity')
$$

-- name: usage_grain
-- The coarsest grain that still draws a span well: up to 360 points of minutes, 168 of hours, then days.
CREATE FUNCTION usage_grain(since timestamptz, until timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE
    WHEN until - since > interval '7 days' THEN 'day'
    WHEN until - since > interval '6 hours' THEN 'hour'
    ELSE 'minute'
END
$$

-- name: usage_percentile
-- In: a histogram of a rollup, a share. Out: the milliseconds below which that share lies, as if the counts
-- of its bucket lay evenly; NULL without counts.
CREATE FUNCTION usage_percentile(counts numeric[], share numeric)
RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
WITH running AS (
    SELECT bucket, count, sum(count) OVER (ORDER BY bucket) AS so_far, share * sum(count) OVER () AS sought
    FROM unnest(counts) WITH ORDINALITY AS b (count, bucket)
)
SELECT round(
    CASE WHEN bucket = 1 THEN 0 ELSE 2.0 ^ (bucket - 2) END
    + CASE WHEN bucket = 20 THEN 0 WHEN bucket = 1 THEN 1 ELSE 2.0 ^ (bucket - 2) END
        * (sought - so_far + count) / count,
    3
)
FROM running WHERE count > 0 AND so_far >= sought ORDER BY bucket LIMIT 1
$$
