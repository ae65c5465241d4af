-- Budgets that were there before: whoever publishes must leave them to the collector, as it did.

-- name: fill
INSERT INTO opened_budgets (tag, limit_id)
SELECT tagged.tag, l.id
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
) AS tagged
WHERE l.dimension = 'usd' AND l.kind = 'window';
