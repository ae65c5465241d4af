-- name: keys_since
-- Keys that changed after a keys revision, one row per secret, oldest change first.
-- Inputs: $1 the keys revision known, $2 how many keys at least (while there are that many).
-- Outputs: whole revisions only, so the last row's revision is where the next call goes on.
-- Complexity: an index range over keys(keys_revision), then the secrets of those keys.
SELECT s.digest, k.id, k.team_id::text, k.user_id::text, k.aliases, k.keys_revision,
       (extract(epoch FROM LEAST(k.expires_at, s.expires_at)) * 1000000)::bigint AS expires_at_us,
       k.revoked_at IS NOT NULL AS revoked,
       s.sealing_public, s.data_key_id::text, s.held::text[], s.created_at,
       k.revoked_at IS NULL AND COALESCE(LEAST(k.expires_at, s.expires_at) > now(), true) AS live
FROM keys k
JOIN key_secrets s ON s.key_id = k.id
WHERE k.keys_revision > $1
  AND k.keys_revision <= (
    SELECT max(page.keys_revision)
    FROM (SELECT keys_revision FROM keys WHERE keys_revision > $1 ORDER BY keys_revision LIMIT $2) page
  )
ORDER BY k.keys_revision, k.id, s.created_at, s.digest

-- name: trust_secrets
-- Inputs: $1 digests. Outputs: digest and trust of those that have one. Complexity: one look-up each.
SELECT digest, trust FROM key_secrets WHERE digest = ANY($1::bytea[]) AND trust IS NOT NULL

-- name: handovers
-- Outputs: publishers' keys that followed one another, oldest first; as many as callers are told of.
SELECT old, new, signature
FROM (SELECT id, old, new, signature FROM publisher_handovers ORDER BY id DESC LIMIT 256) latest
ORDER BY id

-- name: limits
-- Inputs: $1 ids of keys. Outputs: their limits, oldest first. Complexity: one look-up for each key.
SELECT l.id::text, l.team_id::text, l.user_id::text, l.key_id, l.alias_id::text, l.provider_id::text,
       l.target_id::text, l.dimension, l.amount, l.period_us, l.burst, l.kind, l.hard, l.on_outage, l.tz, l.lease,
       l.enforce, l.on_exhausted, l.end_user, l.tag, l.distinct_values,
       t.name AS team, u.name AS "user", l.key_id AS key, a.name AS alias, p.name AS provider,
       tp.name || '/' || tg.model AS target
FROM limits l
LEFT JOIN teams t ON t.id = l.team_id
LEFT JOIN users u ON u.id = l.user_id
LEFT JOIN aliases a ON a.id = l.alias_id
LEFT JOIN providers p ON p.id = l.provider_id
LEFT JOIN targets tg ON tg.id = l.target_id
LEFT JOIN providers tp ON tp.id = tg.provider_id
WHERE l.key_id = ANY($1::text[]) AND l.archived_at IS NULL
  AND COALESCE(t.archived_at, u.archived_at, a.archived_at, p.archived_at, tg.archived_at) IS NULL
ORDER BY l.id

-- name: limited
-- Inputs: $1 how many at most. Outputs: live keys that have limits of their own, changed last first.
-- Complexity: backwards over keys(keys_revision), one look-up for each key.
SELECT k.id, k.team_id::text, k.user_id::text, k.aliases
FROM keys k
WHERE k.revoked_at IS NULL AND COALESCE(k.expires_at > now(), true)
  AND EXISTS (SELECT FROM limits l WHERE l.key_id = k.id AND l.archived_at IS NULL)
ORDER BY k.keys_revision DESC, k.id
LIMIT $1
