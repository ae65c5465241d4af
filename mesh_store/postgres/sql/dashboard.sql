-- What the Grafana dashboard over Postgres asks. $__timeFrom() and $__timeTo() are Grafana's macros: the
-- span that is looked at, as quoted text. What is drawn through time is drawn by the grain that suits
-- the span (whole minutes, hours or days); tables are exact to the minute. Re-pricing is part of it.

-- name: spend_by_team
SELECT r.starts_at AS time, coalesce(t.name, r.team_id) AS metric, sum(r.cost_pico_usd) / 1e12 AS usd
FROM usage_of_teams_drawn($__timeFrom(), $__timeTo()) AS r
LEFT JOIN teams AS t ON t.id::text = r.team_id
GROUP BY 1, 2 ORDER BY 1

-- name: spend_by_model
SELECT r.starts_at AS time, r.model AS metric, sum(r.cost_pico_usd) / 1e12 AS usd
FROM usage_of_teams_drawn($__timeFrom(), $__timeTo()) AS r
WHERE r.model <> '' GROUP BY 1, 2 ORDER BY 1

-- name: spend_by_alias
SELECT r.starts_at AS time, r.alias AS metric, sum(r.cost_pico_usd) / 1e12 AS usd
FROM usage_of_teams_drawn($__timeFrom(), $__timeTo()) AS r
GROUP BY 1, 2 ORDER BY 1

-- name: calls
SELECT r.starts_at AS time, sum(r.calls) AS calls, sum(r.errors) AS errors
FROM usage_of_teams_drawn($__timeFrom(), $__timeTo()) AS r
GROUP BY 1 ORDER BY 1

-- name: refused
SELECT r.starts_at AS time, sum(r.denied) AS denied, sum(r.cancelled) AS cancelled, sum(r.lost) AS lost
FROM usage_of_teams_drawn($__timeFrom(), $__timeTo()) AS r
GROUP BY 1 ORDER BY 1

-- name: tokens
SELECT r.starts_at AS time, sum(r.input_tokens) AS input, sum(r.output_tokens) AS output,
       sum(r.cache_read_tokens) AS cached
FROM usage_of_teams_drawn($__timeFrom(), $__timeTo()) AS r
GROUP BY 1 ORDER BY 1

-- name: latency
-- Sums the histograms, then finds where in its bucket each share lies; milliseconds.
WITH summed AS (
    SELECT r.starts_at AS time, {latency} AS counts
    FROM usage_of_teams_drawn($__timeFrom(), $__timeTo()) AS r
    GROUP BY 1
)
SELECT time, usage_percentile(counts, 0.5) AS p50, usage_percentile(counts, 0.95) AS p95,
       usage_percentile(counts, 0.99) AS p99
FROM summed ORDER BY 1

-- name: first_token
-- Likewise until the first token of a stream.
WITH summed AS (
    SELECT r.starts_at AS time, {ttft} AS counts
    FROM usage_of_teams_drawn($__timeFrom(), $__timeTo()) AS r
    GROUP BY 1
)
SELECT time, usage_percentile(counts, 0.5) AS p50, usage_percentile(counts, 0.95) AS p95
FROM summed ORDER BY 1

-- name: users
SELECT coalesce(u.name, nullif(r.user_id, ''), '-') AS person, sum(r.calls) AS calls,
       sum(r.cost_pico_usd) / 1e12 AS usd
FROM usage_between($__timeFrom(), $__timeTo()) AS r
LEFT JOIN users AS u ON u.id::text = r.user_id
GROUP BY 1 ORDER BY 3 DESC LIMIT 20

-- name: keys
SELECT r.key_id, coalesce(t.name, r.team_id) AS team, sum(r.calls) AS calls,
       sum(r.cost_pico_usd) / 1e12 AS usd
FROM usage_between($__timeFrom(), $__timeTo()) AS r
LEFT JOIN teams AS t ON t.id::text = r.team_id
GROUP BY 1, 2 ORDER BY 4 DESC LIMIT 20

-- name: budgets
-- What is spent of every budget in its present window.
SELECT coalesce('team ' || t.name, 'user ' || u.name, 'key ' || l.key_id, 'alias ' || a.name, 'all') AS whose,
       w.starts_at, w.ends_at, w.spent_pico_usd / 1e12 AS usd, l.amount AS of_usd
FROM limits AS l
JOIN budget_windows AS w ON w.key LIKE '%:q:' || l.id AND w.starts_at <= now() AND w.ends_at > now()
LEFT JOIN teams AS t ON t.id = l.team_id
LEFT JOIN users AS u ON u.id = l.user_id
LEFT JOIN aliases AS a ON a.id = l.alias_id
WHERE l.dimension = 'usd' AND l.archived_at IS NULL
ORDER BY w.spent_pico_usd / nullif(l.amount, 0) DESC LIMIT 50

-- name: unpriced
SELECT r.provider, r.model, sum(r.unpriced) AS attempts
FROM usage_of_teams_between($__timeFrom(), $__timeTo()) AS r
GROUP BY 1, 2 HAVING sum(r.unpriced) > 0 ORDER BY 3 DESC

-- name: dead
SELECT reason, count(*) AS count FROM telemetry_dead WHERE $__timeFilter(at) GROUP BY 1 ORDER BY 2 DESC
