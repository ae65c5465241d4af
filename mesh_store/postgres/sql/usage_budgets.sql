-- The ledger of budgets, and the budgets there are.

-- name: windows
-- In: keys and starts (microseconds), arrays of one length. Out: what the ledger holds of them.
SELECT w.key, (extract(epoch FROM w.starts_at) * 1000000)::bigint AS starts_us, w.spent_pico_usd, w.version
FROM unnest($1::text[], $2::bigint[]) AS asked (key, starts_us)
JOIN budget_windows AS w
    ON w.key = asked.key AND w.starts_at = 'epoch'::timestamptz + asked.starts_us * interval '1 microsecond'

-- name: budgets
-- Out: every live budget with the hash tag of its state in Redis: the team of whatever cannot span
-- teams, else what it is about (the rule callers use when they charge it). One on end users or tags of
-- everybody has a state in each team; one on each of them has states the ledger knows, see "apart".
SELECT
    l.id::text AS id,
    tagged.tag,
    coalesce(l.end_user = '*' OR right(l.tag, 2) = '=*', false) AS apart,
    l.period_us,
    l.tz,
    l.amount,
    t.name AS team,
    u.name AS "user",
    l.key_id AS key,
    a.name AS alias,
    p.name AS provider,
    l.end_user,
    l.tag AS caller_tag
FROM limits AS l
CROSS JOIN LATERAL (
    SELECT coalesce(
        l.team_id::text,
        (SELECT k.team_id::text FROM keys AS k WHERE k.id = l.key_id),
        l.user_id::text,
        l.alias_id::text,
        l.target_id::text,
        l.provider_id::text,
        'global'
    ) AS tag
    WHERE l.team_id IS NOT NULL OR l.key_id IS NOT NULL OR coalesce(l.end_user, l.tag) IS NULL
    UNION ALL
    SELECT id::text FROM teams
    WHERE l.team_id IS NULL AND l.key_id IS NULL AND coalesce(l.end_user, l.tag) IS NOT NULL
        AND archived_at IS NULL
) AS tagged
LEFT JOIN teams AS t ON t.id = l.team_id
LEFT JOIN users AS u ON u.id = l.user_id
LEFT JOIN aliases AS a ON a.id = l.alias_id
LEFT JOIN providers AS p ON p.id = l.provider_id
WHERE l.dimension = 'usd' AND l.kind = 'window' AND l.archived_at IS NULL
ORDER BY l.id, tagged.tag

-- name: apart
-- In: hash tags. Out: what the ledger holds under them of present windows of budgets on each end user or
-- each value of a tag, whose keys end with the value's hash: {tag}:q:<limit>:<hash>.
SELECT
    w.key,
    (extract(epoch FROM w.starts_at) * 1000000)::bigint AS starts_us,
    w.spent_pico_usd,
    w.version,
    l.period_us,
    l.tz
FROM budget_windows AS w
JOIN limits AS l ON l.id::text = split_part(w.key, ':', 3)
WHERE
    w.ends_at > now() - interval '1 minute'
    AND split_part(w.key, ':', 4) <> ''
    AND btrim(split_part(w.key, ':', 1), '{}') = ANY($1::text[])
