-- name: keys_since
-- Keys that changed after a keys revision, one row per secret, oldest change first.
-- Inputs: $1 the keys revision known, $2 how many keys at least (while there are that many).
-- Outputs: whole revisions only, so the last row's revision is where the next call goes on.
-- Complexity: an index range over keys(keys_revision), then the secrets of those keys.
SELECT s.digest, k.id, k.team_id::text, k.user_id::text, k.aliases, k.keys_revision,
       (extract(epoch FROM LEAST(k.expires_at, s.expires_at)) * 1000000)::bigint AS expires_at_us,
       k.revoked_at IS NOT NULL AS revoked,
       s.sealing_public, s.data_key_id::text, s.created_at,
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
