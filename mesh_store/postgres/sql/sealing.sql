-- Who may open which secret, and which data keys they hold. A secret ends with its key.

-- name: in_use
-- Outputs: one row, whether anything is sealed at all. Complexity: two look-ups.
SELECT EXISTS (SELECT 1 FROM provider_secrets)
    OR EXISTS (SELECT 1 FROM team_data_keys WHERE retired_at IS NULL) AS in_use

-- name: lock
-- One publisher at a time changes data keys; held until commit.
SELECT pg_advisory_xact_lock(x'6D65736801'::bigint)

-- name: stored
-- Outputs: stored secrets that live providers of live teams refer to: those a document has.
SELECT s.provider_id::text, s.version, s.address, s.sealed, s.master
FROM provider_secrets s
JOIN providers p ON p.id = s.provider_id AND p.archived_at IS NULL AND p.secret::text LIKE '%"sealed:%'
LEFT JOIN teams t ON t.id = p.team_id
WHERE t.archived_at IS NULL
ORDER BY s.provider_id

-- name: present
-- Outputs: the present data keys: a team's own has no scope.
SELECT id::text, team_id::text, sealed, master, scope::text[] FROM team_data_keys WHERE retired_at IS NULL
ORDER BY id

-- name: entitled
-- Outputs: each team with each provider it may use whose secret is stored: through its own aliases,
-- granted ones, and those for everyone, unless an alias of its own hides them; a provider of its own
-- stands for the global one of its name.
-- Complexity: aliases that lead to such providers, then their grants, then the teams.
WITH sealed AS (
  SELECT p.id, p.name
  FROM providers p
  JOIN provider_secrets s ON s.provider_id = p.id
  WHERE p.archived_at IS NULL AND p.secret::text LIKE '%"sealed:%'
), leads AS (
  SELECT DISTINCT a.id, a.name, a.team_id, a.everyone, t.provider_id
  FROM aliases a
  JOIN targets t ON t.alias_id = a.id AND t.archived_at IS NULL
  JOIN providers p ON p.id = t.provider_id AND p.archived_at IS NULL
  WHERE a.archived_at IS NULL AND p.name IN (SELECT name FROM sealed)
), own AS (
  SELECT team_id, name FROM aliases WHERE team_id IS NOT NULL AND archived_at IS NULL
), reach AS (
  SELECT team_id, provider_id FROM leads WHERE team_id IS NOT NULL
  UNION
  SELECT g.team_id, l.provider_id
  FROM leads l
  JOIN alias_grants g ON g.alias_id = l.id
  WHERE l.team_id IS NULL AND NOT l.everyone
    AND NOT EXISTS (SELECT 1 FROM own WHERE own.team_id = g.team_id AND own.name = l.name)
  UNION
  SELECT t.id, l.provider_id
  FROM (
    SELECT DISTINCT provider_id FROM leads
    WHERE team_id IS NULL AND everyone AND name NOT IN (SELECT name FROM own)
  ) l
  CROSS JOIN teams t
  UNION
  SELECT t.id, l.provider_id
  FROM leads l
  CROSS JOIN teams t
  WHERE l.team_id IS NULL AND l.everyone AND l.name IN (SELECT name FROM own)
    AND NOT EXISTS (SELECT 1 FROM own WHERE own.team_id = t.id AND own.name = l.name)
)
SELECT DISTINCT t.id::text AS team_id, s.id::text AS provider_id
FROM reach r
JOIN teams t ON t.id = r.team_id AND t.archived_at IS NULL
JOIN providers p ON p.id = r.provider_id
LEFT JOIN providers o ON o.team_id = t.id AND o.name = p.name AND o.archived_at IS NULL
JOIN sealed s ON s.id = COALESCE(o.id, p.id)
ORDER BY 1, 2

-- name: state
-- Outputs: where the order of changes stands, up to where data keys were brought up to date, and whether
-- a key has ended since.
SELECT r.revision, r.keys_revision, s.revision AS looked_at, COALESCE(s.keys_revision, -1) AS keys_looked_at,
       s.next_end, COALESCE(s.next_end <= now(), s.id IS NULL) AS is_due, s.reach
FROM revisions r
LEFT JOIN sealing_state s ON true

-- name: looked
-- Inputs: $1 revision, $2 keys revision, $3 when the next key ends, $4 what stands for the reach of aliases.
INSERT INTO sealing_state (revision, keys_revision, next_end, reach) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE
SET revision = excluded.revision, keys_revision = excluded.keys_revision, next_end = excluded.next_end,
    reach = excluded.reach

-- name: held
-- Outputs: the present data keys: the team, the key, and what it covers; a team's own has no scope.
SELECT t.id::text AS team_id, t.name, d.id::text, d.sealed, d.master, d.covers::text[] AS covers,
       d.scope::text[] AS scope
FROM team_data_keys d
JOIN teams t ON t.id = d.team_id
WHERE d.retired_at IS NULL
ORDER BY d.id

-- name: ended
-- Inputs: $1 a keys revision; -1 to look at all keys, because one has ended by the clock.
-- Outputs: present data keys that somebody holds whose key has ended.
-- Complexity: an index range over keys(keys_revision), or one pass over the secrets that hold one.
WITH changed AS MATERIALIZED (SELECT * FROM keys WHERE keys_revision > $1)
SELECT DISTINCT d.id::text
FROM changed k
JOIN key_secrets s ON s.key_id = k.id
JOIN team_data_keys d ON d.id = s.data_key_id AND d.retired_at IS NULL
WHERE (k.revoked_at IS NOT NULL OR LEAST(k.expires_at, s.expires_at) <= now())

-- name: reachable
-- Inputs: $1 team ids. Outputs: those with a live key that may use all the team may, and that something
-- can be sealed to, with names.
SELECT t.id::text AS team_id, t.name
FROM teams t
WHERE t.id = ANY($1::uuid[]) AND EXISTS (
  SELECT 1 FROM keys k JOIN key_secrets s ON s.key_id = k.id
  WHERE k.team_id = t.id AND k.aliases IS NULL AND s.sealing_public IS NOT NULL AND k.revoked_at IS NULL
    AND COALESCE(LEAST(k.expires_at, s.expires_at) > now(), true)
)

-- name: forget
-- Inputs: $1 data keys that are about to go. Those before them are no longer needed by any document.
UPDATE team_data_keys d SET sealed = NULL
FROM team_data_keys g
WHERE g.id = ANY($1::uuid[]) AND d.team_id = g.team_id AND d.scope IS NOT DISTINCT FROM g.scope
  AND d.retired_at IS NOT NULL AND d.sealed IS NOT NULL

-- name: retire
-- Inputs: $1 data keys.
UPDATE team_data_keys SET retired_at = now() WHERE id = ANY($1::uuid[]) AND retired_at IS NULL

-- name: add
-- Inputs: $1 id, $2 team, $3 sealed, $4 master, $5 covered providers, $6 the same for a scope, else NULL.
INSERT INTO team_data_keys (id, team_id, sealed, master, covers, scope)
VALUES ($1::uuid, $2::uuid, $3, $4, $5::uuid[], $6::uuid[])

-- name: cover
-- Inputs: $1 data key, $2 providers.
UPDATE team_data_keys SET covers = $2::uuid[] WHERE id = $1::uuid

-- name: hand_out
-- Inputs: $1 a keys revision, $2 ids of teams with another data key.
-- Live secrets of these teams, and of keys that changed since, take the present data key of their team,
-- unless their key is confined to some aliases; the trigger on key_secrets does the rest.
-- Complexity: an index range over keys(keys_revision), and the keys of the teams.
UPDATE key_secrets s
SET data_key_id = d.id,
    held = CASE WHEN s.held = '{}' AND (SELECT o.scope FROM team_data_keys o WHERE o.id = s.data_key_id) IS NULL
           THEN s.held ELSE array_append(s.held, s.data_key_id) END
FROM keys k, team_data_keys d
WHERE s.key_id = k.id AND d.team_id = k.team_id AND d.retired_at IS NULL AND d.scope IS NULL
  AND k.aliases IS NULL
  AND (k.keys_revision > $1 OR k.team_id = ANY($2::uuid[]))
  AND s.sealing_public IS NOT NULL AND s.data_key_id IS DISTINCT FROM d.id
  AND k.revoked_at IS NULL AND COALESCE(LEAST(k.expires_at, s.expires_at) > now(), true)

-- name: confined
-- Inputs: $1 a keys revision, $2 data keys.
-- Outputs: live secrets of keys that are confined to some aliases, changed since or hold one of these.
-- Complexity: an index range over keys(keys_revision) of such keys, and a look-up for each data key.
SELECT s.digest, k.team_id::text, k.aliases, s.data_key_id::text
FROM keys k
JOIN key_secrets s ON s.key_id = k.id
WHERE k.aliases IS NOT NULL AND k.revoked_at IS NULL AND s.sealing_public IS NOT NULL
  AND COALESCE(LEAST(k.expires_at, s.expires_at) > now(), true)
  AND k.keys_revision > $1
UNION
SELECT s.digest, k.team_id::text, k.aliases, s.data_key_id::text
FROM key_secrets s
JOIN keys k ON k.id = s.key_id
WHERE s.data_key_id = ANY($2::uuid[]) AND k.aliases IS NOT NULL AND k.revoked_at IS NULL
  AND s.sealing_public IS NOT NULL AND COALESCE(LEAST(k.expires_at, s.expires_at) > now(), true)

-- name: any_confined
-- Outputs: one row, whether any live key is confined to some aliases. Complexity: one look-up.
SELECT EXISTS (SELECT 1 FROM keys WHERE aliases IS NOT NULL AND revoked_at IS NULL) AS any_confined

-- name: reach_aliases
-- Outputs: live aliases, and the teams that may use them; NULL is every team.
SELECT a.id::text, a.name, a.team_id::text,
       CASE WHEN a.everyone THEN NULL ELSE array_remove(array_agg(g.team_id::text), NULL) END AS grants
FROM aliases a
LEFT JOIN alias_grants g ON g.alias_id = a.id
WHERE a.archived_at IS NULL
GROUP BY a.id
ORDER BY a.id

-- name: reach_targets
-- Outputs: which alias leads to which provider.
SELECT DISTINCT t.alias_id::text, t.provider_id::text
FROM targets t
JOIN providers p ON p.id = t.provider_id AND p.archived_at IS NULL
WHERE t.archived_at IS NULL
ORDER BY 1, 2

-- name: reach_providers
-- Outputs: live providers, and whether their secret is stored.
SELECT p.id::text, p.name, p.team_id::text, p.kind,
       s.provider_id IS NOT NULL AND COALESCE(p.secret::text LIKE '%"sealed:%', false) AS is_stored
FROM providers p
LEFT JOIN provider_secrets s ON s.provider_id = p.id
WHERE p.archived_at IS NULL
ORDER BY p.id

-- name: hand_scoped
-- Inputs: $1 digests, $2 the data key each takes, NULL for none.
UPDATE key_secrets s
SET data_key_id = n.data_key_id,
    held = CASE WHEN s.data_key_id IS NULL THEN s.held ELSE array_append(s.held, s.data_key_id) END
FROM unnest($1::bytea[], $2::uuid[]) AS n (digest, data_key_id)
WHERE s.digest = n.digest AND s.data_key_id IS DISTINCT FROM n.data_key_id

-- name: unheld
-- Outputs: present data keys of a scope that no live key holds. Complexity: a look-up for each of them.
SELECT d.id::text
FROM team_data_keys d
WHERE d.scope IS NOT NULL AND d.retired_at IS NULL AND NOT EXISTS (
  SELECT 1 FROM key_secrets s JOIN keys k ON k.id = s.key_id
  WHERE s.data_key_id = d.id AND k.revoked_at IS NULL
    AND COALESCE(LEAST(k.expires_at, s.expires_at) > now(), true)
)

-- name: next_end
-- Inputs: as for `ended`. Outputs: when the next of these keys ends whose holder has a present data key.
WITH changed AS MATERIALIZED (SELECT * FROM keys WHERE keys_revision > $1)
SELECT min(LEAST(k.expires_at, s.expires_at))
FROM changed k
JOIN key_secrets s ON s.key_id = k.id
JOIN team_data_keys d ON d.id = s.data_key_id AND d.retired_at IS NULL
WHERE k.revoked_at IS NULL

-- name: data_keys
-- Inputs: $1 ids of data keys. Outputs: those, and of each of their teams the one before, if it is kept.
SELECT d.id::text, d.team_id::text, d.sealed, d.master, d.created_at, d.retired_at, d.scope::text[]
FROM team_data_keys d
WHERE d.sealed IS NOT NULL AND d.team_id IN (SELECT team_id FROM team_data_keys WHERE id = ANY($1::uuid[]))
ORDER BY d.created_at DESC, d.id DESC

-- name: masters
-- Outputs: everything under a master, for sealing it anew.
SELECT 'data_key' AS kind, id::text, team_id::text AS team_id, sealed, master, NULL AS address,
       NULL::bigint AS version
FROM team_data_keys WHERE sealed IS NOT NULL
UNION ALL
SELECT 'secret', provider_id::text, NULL, sealed, master, address, version FROM provider_secrets

-- name: under_data_key
-- Inputs: $1 id, $2 sealed, $3 master.
UPDATE team_data_keys SET sealed = $2, master = $3 WHERE id = $1::uuid

-- name: under_secret
-- Inputs: $1 provider, $2 sealed, $3 master.
UPDATE provider_secrets SET sealed = $2, master = $3 WHERE provider_id = $1::uuid

-- name: seen
-- Inputs: $1 key id. Outputs: names of providers whose secret, as it still is, the key's holder could
-- have opened: covered by the team's data keys that were in use while the key lived and was not confined
-- to some aliases, and by those it held since.
SELECT DISTINCT COALESCE(t.name || ':', '') || p.name AS name
FROM keys k
JOIN team_data_keys d ON d.team_id = k.team_id
 AND d.created_at <= COALESCE(k.revoked_at, k.expires_at, now())
 AND COALESCE(d.retired_at >= k.created_at, true)
 AND (
   EXISTS (SELECT 1 FROM key_secrets h WHERE h.key_id = k.id AND (h.data_key_id = d.id OR d.id = ANY(h.held)))
   OR (d.scope IS NULL AND EXISTS (
     SELECT 1 FROM key_secrets h
     JOIN team_data_keys o ON o.id = h.data_key_id OR o.id = ANY(h.held)
     WHERE h.key_id = k.id AND o.scope IS NULL AND d.created_at <= COALESCE(o.retired_at, now())
   ))
 )
CROSS JOIN LATERAL unnest(d.covers) AS covered (provider_id)
JOIN providers p ON p.id = covered.provider_id AND p.archived_at IS NULL
JOIN provider_secrets s ON s.provider_id = p.id AND s.set_at <= COALESCE(k.revoked_at, now())
LEFT JOIN teams t ON t.id = p.team_id
WHERE k.id = $1
ORDER BY 1
