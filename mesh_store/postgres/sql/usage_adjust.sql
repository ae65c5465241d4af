-- Re-pricing: what facts cost by now, and the rows that make up the difference.

-- name: lock
-- Whoever re-prices holds this until commit, or two at once would each add the whole difference.
SELECT pg_advisory_xact_lock(7310302735421371)

-- name: facts
-- In: since, until, after (the last id seen), limit; team, provider and model, or NULL. Out: facts that
-- took tokens, with what they cost by now (adjustments included), in the order of their ids.
-- O(log n) to the first row of a page: ids begin with their time, so days outside are not read.
SELECT
    e.id, e.started_at, (extract(epoch FROM e.started_at) * 1000000)::bigint AS started_at_us,
    e.team_id, coalesce(e.user_id, '') AS user_id, e.key_id, e.alias, e.provider_id,
    coalesce(e.provider, '') AS provider, coalesce(e.request_model, '') AS model,
    e.input_tokens, e.output_tokens, e.cache_read_tokens, e.cache_write_tokens, e.reasoning_tokens,
    e.audio_input_tokens, e.audio_output_tokens, e.cache_write_1h_tokens, e.service,
    CASE WHEN e.cost_pico_usd IS NOT NULL OR a.priced THEN coalesce(e.cost_pico_usd, 0) + coalesce(a.sum, 0) END
        AS cost_pico_usd
FROM usage_events AS e
LEFT JOIN LATERAL (
    SELECT sum(cost_pico_usd) AS sum, bool_or(priced) AS priced FROM adjustments WHERE fact_id = e.id
) AS a ON true
WHERE e.started_at >= $1 AND e.started_at < $2 AND e.id > $3
    AND e.outcome <> 'denied' AND e.provider_id IS NOT NULL AND e.input_tokens + e.output_tokens > 0
    AND ($5::text IS NULL OR e.team_id = $5) AND ($6::text IS NULL OR e.provider = $6)
    AND ($7::text IS NULL OR e.request_model = $7)
ORDER BY e.id
LIMIT $4
