-- Sums made anew from the facts they are sums of: what counts as an error has changed since some were written.

-- name: lock
-- Collectors wait until commit: what one of them adds meanwhile would be missing in what was counted.
LOCK TABLE usage_rollups IN SHARE ROW EXCLUSIVE MODE

-- name: recount
-- Out: sums that were wrong and are right now; sums whose facts are gone in part or altogether, which stay
-- as they are. O(n) in the facts that are kept.
WITH minutes AS MATERIALIZED (
    SELECT
        date_trunc('minute', started_at, 'UTC') AS minute,
        team_id,
        coalesce(user_id, '') AS user_id,
        key_id,
        alias,
        coalesce(provider, '') AS provider,
        coalesce(request_model, '') AS model,
        count(*) FILTER (WHERE outcome <> 'denied') AS attempts,
        count(*) FILTER (WHERE outcome IN ('error', 'incomplete', 'timeout')) AS errors
    FROM usage_events
    GROUP BY 1, 2, 3, 4, 5, 6, 7
), sums AS (
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
        sum(attempts) AS attempts,
        sum(errors) AS errors
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
), compared AS MATERIALIZED (
    SELECT
        r.grain, r.starts_at, r.team_id, r.user_id, r.key_id, r.alias, r.provider, r.model,
        r.attempts IS NOT DISTINCT FROM s.attempts AS whole,
        r.errors <> s.errors AS wrong,
        s.errors
    FROM usage_rollups AS r
    LEFT JOIN sums AS s USING (grain, starts_at, team_id, user_id, key_id, alias, provider, model)
), recounted AS (
    UPDATE usage_rollups AS r SET errors = c.errors
    FROM compared AS c
    WHERE
        c.whole AND c.wrong
        AND (r.grain, r.starts_at, r.team_id, r.user_id, r.key_id, r.alias, r.provider, r.model)
            = (c.grain, c.starts_at, c.team_id, c.user_id, c.key_id, c.alias, c.provider, c.model)
    RETURNING 1
)
SELECT (SELECT count(*) FROM recounted), (SELECT count(*) FROM compared WHERE NOT whole)
