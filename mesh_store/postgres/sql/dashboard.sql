-- What the Grafana dashboard over Postgres asks. $__timeFilter and $__timeGroup are Grafana's macros.
-- Rollups answer what they can; money adds the adjustments of re-pricing.

-- name: spend_by_team
SELECT $__timeGroup(r.starts_at, $__interval) AS time, coalesce(t.name, r.team_id) AS metric,
       sum(r.cost_pico_usd) / 1e12 AS usd
FROM (
    SELECT starts_at, team_id, cost_pico_usd FROM usage_rollups WHERE grain = 'minute'
    UNION ALL SELECT started_at, team_id, cost_pico_usd FROM adjustments
) AS r
LEFT JOIN teams AS t ON t.id::text = r.team_id
WHERE $__timeFilter(r.starts_at) GROUP BY 1, 2 ORDER BY 1

-- name: spend_by_model
SELECT $__timeGroup(r.starts_at, $__interval) AS time, r.model AS metric, sum(r.cost_pico_usd) / 1e12 AS usd
FROM (
    SELECT starts_at, model, cost_pico_usd FROM usage_rollups WHERE grain = 'minute'
    UNION ALL SELECT started_at, model, cost_pico_usd FROM adjustments
) AS r
WHERE $__timeFilter(r.starts_at) GROUP BY 1, 2 ORDER BY 1

-- name: spend_by_alias
SELECT $__timeGroup(r.starts_at, $__interval) AS time, r.alias AS metric, sum(r.cost_pico_usd) / 1e12 AS usd
FROM (
    SELECT starts_at, alias, cost_pico_usd FROM usage_rollups WHERE grain = 'minute'
    UNION ALL SELECT started_at, alias, cost_pico_usd FROM adjustments
) AS r
WHERE $__timeFilter(r.starts_at) GROUP BY 1, 2 ORDER BY 1

-- name: calls
SELECT $__timeGroup(r.starts_at, $__interval) AS time, sum(r.calls) AS calls, sum(r.errors) AS errors
FROM usage_rollups AS r WHERE r.grain = 'minute' AND $__timeFilter(r.starts_at) GROUP BY 1 ORDER BY 1

-- name: refused
SELECT $__timeGroup(r.starts_at, $__interval) AS time, sum(r.denied) AS denied,
       sum(r.cancelled) AS cancelled, sum(r.lost) AS lost
FROM usage_rollups AS r WHERE r.grain = 'minute' AND $__timeFilter(r.starts_at) GROUP BY 1 ORDER BY 1

-- name: tokens
SELECT $__timeGroup(r.starts_at, $__interval) AS time, sum(r.input_tokens) AS input,
       sum(r.output_tokens) AS output, sum(r.cache_read_tokens) AS cached
FROM usage_rollups AS r WHERE r.grain = 'minute' AND $__timeFilter(r.starts_at) GROUP BY 1 ORDER BY 1

-- name: mean_latency
SELECT $__timeGroup(r.starts_at, $__interval) AS time,
       sum(r.duration_us) / nullif(sum(r.attempts), 0) / 1000.0 AS mean
FROM usage_rollups AS r WHERE r.grain = 'minute' AND $__timeFilter(r.starts_at) GROUP BY 1 ORDER BY 1

-- name: latency_p95
-- Sums the histograms bucket by bucket, then finds the bucket in which the share lies; its upper bound, ms.
WITH counted AS (
    SELECT $__timeGroup(r.starts_at, $__interval) AS time, b.bucket, sum(b.count) AS count
    FROM usage_rollups AS r, unnest(r.latency) WITH ORDINALITY AS b (count, bucket)
    WHERE r.grain = 'minute' AND $__timeFilter(r.starts_at) GROUP BY 1, 2
), running AS (
    SELECT time, bucket, sum(count) OVER (PARTITION BY time ORDER BY bucket) AS so_far,
           sum(count) OVER (PARTITION BY time) AS all_of_it
    FROM counted
)
SELECT time, 2 ^ (min(bucket) - 1) AS p95
FROM running WHERE so_far >= 0.95 * all_of_it AND all_of_it > 0 GROUP BY 1 ORDER BY 1

-- name: users
SELECT coalesce(u.name, r.user_id) AS person, sum(r.cost_pico_usd) / 1e12 AS usd
FROM (
    SELECT starts_at, user_id, cost_pico_usd FROM usage_rollups WHERE grain = 'minute'
    UNION ALL SELECT started_at, user_id, cost_pico_usd FROM adjustments
) AS r
LEFT JOIN users AS u ON u.id::text = r.user_id
WHERE $__timeFilter(r.starts_at) GROUP BY 1 ORDER BY 2 DESC LIMIT 20

-- name: keys
SELECT r.key_id, sum(r.cost_pico_usd) / 1e12 AS usd
FROM (
    SELECT starts_at, key_id, cost_pico_usd FROM usage_rollups WHERE grain = 'minute'
    UNION ALL SELECT started_at, key_id, cost_pico_usd FROM adjustments
) AS r
WHERE $__timeFilter(r.starts_at) GROUP BY 1 ORDER BY 2 DESC LIMIT 20

-- name: budgets
SELECT key, starts_at, ends_at, spent_pico_usd / 1e12 AS usd
FROM budget_windows WHERE ends_at > now() ORDER BY spent_pico_usd DESC LIMIT 50

-- name: unpriced
SELECT r.provider, r.model, sum(r.unpriced) AS attempts
FROM usage_rollups AS r WHERE r.grain = 'minute' AND $__timeFilter(r.starts_at)
GROUP BY 1, 2 HAVING sum(r.unpriced) > 0 ORDER BY 3 DESC

-- name: dead
SELECT reason, count(*) AS count FROM telemetry_dead WHERE $__timeFilter(at) GROUP BY 1 ORDER BY 2 DESC
