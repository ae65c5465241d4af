-- What a snapshot holds. Inputs: none. Outputs: live rows only, oldest first, so that documents of
-- two revisions differ only where the configuration does. Complexity: one scan of each table.

-- name: teams
SELECT id::text, name, content, content_share FROM teams WHERE archived_at IS NULL ORDER BY id

-- name: providers
SELECT p.id::text, p.name, p.kind, p.base_url, p.secret::text, p.headers::text, p.query::text,
       p.options::text, p.team_id::text
FROM providers p
LEFT JOIN teams t ON t.id = p.team_id
WHERE p.archived_at IS NULL AND t.archived_at IS NULL
ORDER BY p.id

-- name: aliases
SELECT a.id::text, a.name, a.team_id::text, a.operations, a.everyone, a.defaults::text, a.forced::text,
       a.max_output_tokens, a.timeout_us, a.deprecated
FROM aliases a
LEFT JOIN teams t ON t.id = a.team_id
WHERE a.archived_at IS NULL AND t.archived_at IS NULL
ORDER BY a.id

-- name: grants
SELECT g.alias_id::text, g.team_id::text
FROM alias_grants g
JOIN aliases a ON a.id = g.alias_id AND a.archived_at IS NULL
JOIN teams t ON t.id = g.team_id AND t.archived_at IS NULL
ORDER BY g.alias_id, g.team_id

-- name: targets
SELECT t.id::text, t.alias_id::text, t.provider_id::text, t.model, t.tier, t.weight, t.params::text,
       t.max_output_tokens, t.context_window, t.canary
FROM targets t
JOIN aliases a ON a.id = t.alias_id AND a.archived_at IS NULL
JOIN providers p ON p.id = t.provider_id AND p.archived_at IS NULL
WHERE t.archived_at IS NULL
ORDER BY t.alias_id, t.tier, t.position, t.id

-- name: prices
-- What still holds or will; in the order of recording, which decides where two overlap.
SELECT v.provider_id::text, v.model, v.service, v.above, v.valid_from, v.valid_to, v.input, v.output,
       v.cache_read, v.cache_write, v.cache_write_1h, v.reasoning, v.audio_input, v.audio_output, v.request
FROM price_versions v
JOIN providers p ON p.id = v.provider_id AND p.archived_at IS NULL
WHERE v.valid_to IS NULL OR v.valid_to > now()
ORDER BY v.id

-- name: limits
-- Limits on keys are not among them: each comes with its key's entry.
-- A limit of a team on an alias or a provider means the one that team means by the name: its own, once
-- it has one.
SELECT l.id::text, l.team_id::text, l.user_id::text, NULL AS key_id, l.target_id::text,
       COALESCE(account.id, l.provider_id)::text AS provider_id,
       COALESCE(own.id, l.alias_id)::text AS alias_id,
       l.dimension, l.amount, l.period_us, l.burst, l.kind, l.hard, l.on_outage, l.tz, l.lease,
       l.enforce, l.on_exhausted, l.end_user, l.tag, l.distinct_values,
       t.name AS team, u.name AS "user", NULL AS key, a.name AS alias, p.name AS provider,
       tp.name || '/' || tg.model AS target
FROM limits l
LEFT JOIN teams t ON t.id = l.team_id
LEFT JOIN users u ON u.id = l.user_id
LEFT JOIN aliases a ON a.id = l.alias_id
LEFT JOIN aliases own ON own.team_id = l.team_id AND own.name = a.name AND own.archived_at IS NULL
                     AND l.target_id IS NULL
LEFT JOIN providers p ON p.id = l.provider_id
LEFT JOIN providers account ON account.team_id = l.team_id AND account.name = p.name
                           AND account.archived_at IS NULL
LEFT JOIN targets tg ON tg.id = l.target_id
LEFT JOIN providers tp ON tp.id = tg.provider_id
WHERE l.archived_at IS NULL AND l.key_id IS NULL
  AND COALESCE(t.archived_at, u.archived_at, a.archived_at, p.archived_at, tg.archived_at) IS NULL
ORDER BY l.id
