-- Calls that were, as a trace to replay limits on.

-- name: trace
-- In: since and until (NULL: no end), a team's name (NULL: all), how many facts at most. Out: one row a call in
-- the order of time: its attempts together, whom it was for, the target that ended it. A call that was refused is
-- one that was wanted: it counts with what it was estimated at. Complexity: the facts of the time asked for.
SELECT
    (extract(epoch FROM min(e.started_at)) * 1000000)::bigint AS at_us,
    max((extract(epoch FROM e.started_at) * 1000000)::bigint + e.duration_us)
        - min((extract(epoch FROM e.started_at) * 1000000)::bigint) AS duration_us,
    min(coalesce(t.name, e.team_id)) AS team,
    min(u.name) AS "user",
    min(e.key_id) AS key,
    min(e.alias) AS alias,
    min(e.end_user) AS end_user,
    (array_agg(e.tags ORDER BY e.attempt DESC))[1]::text AS tags,
    (array_agg(e.provider ORDER BY e.attempt DESC))[1] AS provider,
    (array_agg(e.request_model ORDER BY e.attempt DESC))[1] AS model,
    sum(CASE WHEN e.outcome = 'denied' THEN e.estimate_tokens ELSE e.input_tokens END)::bigint AS input_tokens,
    sum(e.output_tokens)::bigint AS output_tokens,
    CASE WHEN bool_or(e.outcome <> 'denied' AND e.cost_pico_usd IS NULL) THEN NULL
        ELSE sum(CASE WHEN e.outcome = 'denied' THEN e.estimate_pico_usd ELSE e.cost_pico_usd END)
    END AS cost_pico_usd
FROM usage_events AS e
LEFT JOIN teams AS t ON t.id::text = e.team_id
LEFT JOIN users AS u ON u.id::text = e.user_id
WHERE e.started_at >= $1
    AND ($2::timestamptz IS NULL OR e.started_at < $2)
    AND ($3::text IS NULL OR t.name = $3)
GROUP BY e.call_id
ORDER BY 1, e.call_id
LIMIT $4
