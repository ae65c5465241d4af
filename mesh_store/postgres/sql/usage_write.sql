-- Writing facts: COPY fills the staging table, one statement inserts what is new and adds it to the rollups.

-- name: staging
-- One per connection, emptied by every commit; the columns are those of a Fact, in its order.
CREATE TEMPORARY TABLE usage_staging (
    version bigint, id uuid, call_id uuid, attempt bigint, started_at_us bigint, duration_us bigint,
    ttft_us bigint, outcome text, operation text, host text, stream boolean, team_id text, user_id text,
    key_id text, alias text, alias_id text, revision bigint, provider_id text, provider text,
    request_model text, response_model text, input_tokens bigint, output_tokens bigint,
    cache_read_tokens bigint, cache_write_tokens bigint, reasoning_tokens bigint, audio_input_tokens
    bigint, audio_output_tokens bigint, estimated boolean, cost_pico_usd bigint, rate_card text,
    estimate_tokens bigint, estimate_pico_usd bigint, finish_reason text, error_type text, status
    bigint, response_id text, session text, end_user text, tags jsonb, trace_id text, span_id text,
    reservation_id text, flags text[], cache_write_1h_tokens bigint, service text, image_input_tokens bigint,
    image_output_tokens bigint, settled_tokens bigint, settled_pico_usd bigint
) ON COMMIT DELETE ROWS

-- name: spending_staging
-- One per connection: what budgets were charged; fact_id is NULL where the fact had been dropped or
-- buried.
CREATE TEMPORARY TABLE spending_staging (
    fact_id uuid, reservation_id text, key text, starts_us bigint, ends_us bigint, amount numeric
) ON COMMIT DELETE ROWS

-- name: fold
-- In: usage_staging, spending_staging. Out: how many facts were new. O(n log n) in what is staged.
-- Only rows that were really inserted reach the rollups and the ledger, so repeats change nothing. Every
-- insert is sorted by its key: collectors that meet take their locks in one order and cannot deadlock.
WITH inserted AS (
    INSERT INTO usage_events (
        id, call_id, attempt, started_at, duration_us, ttft_us, outcome, operation, host, stream,
        team_id, user_id, key_id, alias, alias_id, revision, provider_id, provider, request_model,
        response_model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
        reasoning_tokens, audio_input_tokens, audio_output_tokens, estimated, cost_pico_usd, rate_card,
        estimate_tokens, estimate_pico_usd, finish_reason, error_type, status, response_id, session,
        end_user, tags, trace_id, span_id, reservation_id, flags, version, cache_write_1h_tokens, service,
        image_input_tokens, image_output_tokens, settled_tokens, settled_pico_usd
    )
    SELECT
        id, call_id, attempt, 'epoch'::timestamptz + started_at_us * interval '1 microsecond',
        duration_us, ttft_us, outcome, operation, host, stream, team_id, user_id, key_id, alias,
        alias_id, revision, provider_id, provider, request_model, response_model, input_tokens,
        output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens,
        audio_output_tokens, estimated, cost_pico_usd, rate_card, estimate_tokens, estimate_pico_usd,
        finish_reason, error_type, status, response_id, session, end_user, tags, trace_id, span_id,
        reservation_id, flags, version, cache_write_1h_tokens, service, image_input_tokens,
        image_output_tokens, settled_tokens, settled_pico_usd
    FROM usage_staging
    ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), bucketed AS MATERIALIZED (
    -- Materialized, or each of the forty counts below would find the bucket anew.
    SELECT
        inserted.*,
        CASE WHEN outcome <> 'denied' THEN width_bucket(duration_us / 1000, buckets.bounds) END AS latency,
        width_bucket(ttft_us / 1000, buckets.bounds) AS ttft
    FROM
        inserted,
        (SELECT '{1,2,4,8,16,32,64,128,256,512,1024,2048,4096,8192,16384,32768,65536,131072,262144}'::bigint[] AS bounds) AS buckets
), minutes AS MATERIALIZED (
    -- The coarser sums are made of these, which are fewer than the facts.
    SELECT
        date_trunc('minute', started_at, 'UTC') AS minute,
        team_id,
        coalesce(user_id, '') AS user_id,
        key_id,
        alias,
        coalesce(provider, '') AS provider,
        coalesce(request_model, '') AS model,
        count(*) FILTER (WHERE attempt <= 1 AND outcome <> 'denied') AS calls,
        count(*) FILTER (WHERE outcome <> 'denied') AS attempts,
        count(*) FILTER (WHERE outcome = 'denied') AS denied,
        count(*) FILTER (WHERE outcome IN ('error', 'incomplete', 'timeout')) AS errors,
        count(*) FILTER (WHERE outcome IN ('cancelled', 'abandoned')) AS cancelled,
        count(*) FILTER (WHERE outcome = 'lost') AS lost,
        count(*) FILTER (WHERE estimated) AS estimated,
        count(*) FILTER (WHERE cost_pico_usd IS NULL AND input_tokens + output_tokens > 0) AS unpriced,
        count(*) FILTER (WHERE attempt <= 1 AND 'shadow_denied' = ANY(flags)) AS shadow_denied,
        sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens,
        sum(cache_read_tokens) AS cache_read_tokens,
        sum(cache_write_tokens) AS cache_write_tokens,
        sum(reasoning_tokens) AS reasoning_tokens,
        sum(audio_input_tokens) AS audio_input_tokens,
        sum(audio_output_tokens) AS audio_output_tokens,
        coalesce(sum(cost_pico_usd), 0) AS cost_pico_usd,
        sum(duration_us) AS duration_us,
        ARRAY[
            count(*) FILTER (WHERE latency = 0), count(*) FILTER (WHERE latency = 1),
            count(*) FILTER (WHERE latency = 2), count(*) FILTER (WHERE latency = 3),
            count(*) FILTER (WHERE latency = 4), count(*) FILTER (WHERE latency = 5),
            count(*) FILTER (WHERE latency = 6), count(*) FILTER (WHERE latency = 7),
            count(*) FILTER (WHERE latency = 8), count(*) FILTER (WHERE latency = 9),
            count(*) FILTER (WHERE latency = 10), count(*) FILTER (WHERE latency = 11),
            count(*) FILTER (WHERE latency = 12), count(*) FILTER (WHERE latency = 13),
            count(*) FILTER (WHERE latency = 14), count(*) FILTER (WHERE latency = 15),
            count(*) FILTER (WHERE latency = 16), count(*) FILTER (WHERE latency = 17),
            count(*) FILTER (WHERE latency = 18), count(*) FILTER (WHERE latency = 19)
        ] AS latency,
        ARRAY[
            count(*) FILTER (WHERE ttft = 0), count(*) FILTER (WHERE ttft = 1),
            count(*) FILTER (WHERE ttft = 2), count(*) FILTER (WHERE ttft = 3),
            count(*) FILTER (WHERE ttft = 4), count(*) FILTER (WHERE ttft = 5),
            count(*) FILTER (WHERE ttft = 6), count(*) FILTER (WHERE ttft = 7),
            count(*) FILTER (WHERE ttft = 8), count(*) FILTER (WHERE ttft = 9),
            count(*) FILTER (WHERE ttft = 10), count(*) FILTER (WHERE ttft = 11),
            count(*) FILTER (WHERE ttft = 12), count(*) FILTER (WHERE ttft = 13),
            count(*) FILTER (WHERE ttft = 14), count(*) FILTER (WHERE ttft = 15),
            count(*) FILTER (WHERE ttft = 16), count(*) FILTER (WHERE ttft = 17),
            count(*) FILTER (WHERE ttft = 18), count(*) FILTER (WHERE ttft = 19)
        ] AS ttft,
        max(started_at) AS last_at
    FROM bucketed
    GROUP BY 1, 2, 3, 4, 5, 6, 7
), rolled AS (
    INSERT INTO usage_rollups AS r (
        grain, starts_at, team_id, user_id, key_id, alias, provider, model, calls, attempts, denied,
        errors, cancelled, lost, estimated, unpriced, shadow_denied, input_tokens, output_tokens, cache_read_tokens,
        cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, cost_pico_usd,
        duration_us, latency, ttft, last_at
    )
    SELECT
        CASE grouping(key_id) WHEN 1 THEN 'team ' ELSE '' END
        || CASE 0 WHEN grouping(minute) THEN 'minute' WHEN grouping(hour) THEN 'hour' ELSE 'day' END AS grain,
        coalesce(minute, hour, day) AS starts_at,
        team_id,
        coalesce(user_id, '') AS user_id,
        coalesce(key_id, '') AS key_id,
        alias,
        provider,
        model,
        sum(calls), sum(attempts), sum(denied), sum(errors), sum(cancelled), sum(lost), sum(estimated),
        sum(unpriced), sum(shadow_denied), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens),
        sum(cache_write_tokens), sum(reasoning_tokens), sum(audio_input_tokens), sum(audio_output_tokens),
        sum(cost_pico_usd), sum(duration_us),
        ARRAY[
            sum(latency[1]), sum(latency[2]), sum(latency[3]), sum(latency[4]), sum(latency[5]),
            sum(latency[6]), sum(latency[7]), sum(latency[8]), sum(latency[9]), sum(latency[10]),
            sum(latency[11]), sum(latency[12]), sum(latency[13]), sum(latency[14]), sum(latency[15]),
            sum(latency[16]), sum(latency[17]), sum(latency[18]), sum(latency[19]), sum(latency[20])
        ],
        ARRAY[
            sum(ttft[1]), sum(ttft[2]), sum(ttft[3]), sum(ttft[4]), sum(ttft[5]),
            sum(ttft[6]), sum(ttft[7]), sum(ttft[8]), sum(ttft[9]), sum(ttft[10]),
            sum(ttft[11]), sum(ttft[12]), sum(ttft[13]), sum(ttft[14]), sum(ttft[15]),
            sum(ttft[16]), sum(ttft[17]), sum(ttft[18]), sum(ttft[19]), sum(ttft[20])
        ],
        max(last_at)
    FROM (
        SELECT date_trunc('hour', minute, 'UTC') AS hour, date_trunc('day', minute, 'UTC') AS day, minutes.*
        FROM minutes
    ) AS timed
    GROUP BY GROUPING SETS (
        (minute, team_id, user_id, key_id, alias, provider, model),
        (hour, team_id, user_id, key_id, alias, provider, model),
        (day, team_id, user_id, key_id, alias, provider, model),
        (hour, team_id, alias, provider, model),
        (day, team_id, alias, provider, model)
    )
    ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
    ON CONFLICT (grain, starts_at, team_id, user_id, key_id, alias, provider, model) DO UPDATE SET
        calls = r.calls + excluded.calls,
        attempts = r.attempts + excluded.attempts,
        denied = r.denied + excluded.denied,
        errors = r.errors + excluded.errors,
        cancelled = r.cancelled + excluded.cancelled,
        lost = r.lost + excluded.lost,
        estimated = r.estimated + excluded.estimated,
        unpriced = r.unpriced + excluded.unpriced,
        shadow_denied = r.shadow_denied + excluded.shadow_denied,
        input_tokens = r.input_tokens + excluded.input_tokens,
        output_tokens = r.output_tokens + excluded.output_tokens,
        cache_read_tokens = r.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = r.cache_write_tokens + excluded.cache_write_tokens,
        reasoning_tokens = r.reasoning_tokens + excluded.reasoning_tokens,
        audio_input_tokens = r.audio_input_tokens + excluded.audio_input_tokens,
        audio_output_tokens = r.audio_output_tokens + excluded.audio_output_tokens,
        cost_pico_usd = r.cost_pico_usd + excluded.cost_pico_usd,
        duration_us = r.duration_us + excluded.duration_us,
        latency = ARRAY[
            r.latency[1] + excluded.latency[1], r.latency[2] + excluded.latency[2],
            r.latency[3] + excluded.latency[3], r.latency[4] + excluded.latency[4],
            r.latency[5] + excluded.latency[5], r.latency[6] + excluded.latency[6],
            r.latency[7] + excluded.latency[7], r.latency[8] + excluded.latency[8],
            r.latency[9] + excluded.latency[9], r.latency[10] + excluded.latency[10],
            r.latency[11] + excluded.latency[11], r.latency[12] + excluded.latency[12],
            r.latency[13] + excluded.latency[13], r.latency[14] + excluded.latency[14],
            r.latency[15] + excluded.latency[15], r.latency[16] + excluded.latency[16],
            r.latency[17] + excluded.latency[17], r.latency[18] + excluded.latency[18],
            r.latency[19] + excluded.latency[19], r.latency[20] + excluded.latency[20]
        ],
        ttft = ARRAY[
            r.ttft[1] + excluded.ttft[1], r.ttft[2] + excluded.ttft[2],
            r.ttft[3] + excluded.ttft[3], r.ttft[4] + excluded.ttft[4],
            r.ttft[5] + excluded.ttft[5], r.ttft[6] + excluded.ttft[6],
            r.ttft[7] + excluded.ttft[7], r.ttft[8] + excluded.ttft[8],
            r.ttft[9] + excluded.ttft[9], r.ttft[10] + excluded.ttft[10],
            r.ttft[11] + excluded.ttft[11], r.ttft[12] + excluded.ttft[12],
            r.ttft[13] + excluded.ttft[13], r.ttft[14] + excluded.ttft[14],
            r.ttft[15] + excluded.ttft[15], r.ttft[16] + excluded.ttft[16],
            r.ttft[17] + excluded.ttft[17], r.ttft[18] + excluded.ttft[18],
            r.ttft[19] + excluded.ttft[19], r.ttft[20] + excluded.ttft[20]
        ],
        last_at = greatest(r.last_at, excluded.last_at)
), settled AS (
    INSERT INTO budget_settlements (reservation_id)
    SELECT DISTINCT reservation_id FROM spending_staging WHERE fact_id IS NULL ORDER BY reservation_id
    ON CONFLICT (reservation_id) DO NOTHING
    RETURNING reservation_id
), spent AS (
    INSERT INTO budget_windows AS w (key, starts_at, ends_at, spent_pico_usd, version, untold_pico_usd)
    SELECT
        once.key,
        'epoch'::timestamptz + once.starts_us * interval '1 microsecond' AS starts_at,
        'epoch'::timestamptz + max(once.ends_us) * interval '1 microsecond',
        -- A fact that came again when it was no longer out of time had its money counted without it.
        coalesce(sum(once.amount) FILTER (WHERE b.reservation_id IS NULL), 0),
        1,
        sum(CASE WHEN once.fact_id IS NULL THEN amount WHEN b.reservation_id IS NULL THEN 0 ELSE -amount END)
    FROM (
        -- An entry that came twice into one transaction is staged twice.
        SELECT DISTINCT ON (fact_id, reservation_id, key, starts_us) *
        FROM spending_staging
        ORDER BY fact_id, reservation_id, key, starts_us
    ) AS once
    LEFT JOIN budget_settlements AS b ON b.reservation_id = once.reservation_id  -- as they were before
    WHERE
        once.fact_id IN (SELECT id FROM inserted)
        OR (once.fact_id IS NULL AND once.reservation_id IN (SELECT reservation_id FROM settled))
    GROUP BY once.key, once.starts_us
    ORDER BY once.key, once.starts_us
    ON CONFLICT (key, starts_at) DO UPDATE SET
        spent_pico_usd = w.spent_pico_usd + excluded.spent_pico_usd,
        version = w.version + 1,
        untold_pico_usd = w.untold_pico_usd + excluded.untold_pico_usd
)
SELECT count(*) FROM inserted

-- name: forsake
-- In: ids of staged facts that Postgres refuses. Their money counts by its reservation, as if they were gone.
UPDATE spending_staging SET fact_id = NULL WHERE fact_id = ANY($1::uuid[])

-- name: bury
-- In: digest, reason, detail, ring, body, as arrays of one length. A repeat changes nothing.
INSERT INTO telemetry_dead (digest, reason, detail, ring, body)
SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::bytea[])
ON CONFLICT (digest) DO NOTHING

-- name: parked
-- In: a reason. Out: what was buried for it.
SELECT digest, body FROM telemetry_dead WHERE reason = $1 ORDER BY at

-- name: unbury
-- In: a digest.
DELETE FROM telemetry_dead WHERE digest = $1

-- name: teams_of_keys
-- In: ids of keys. Out: id and team of those that exist.
SELECT id, team_id::text AS team_id FROM keys WHERE id = ANY($1::text[])
