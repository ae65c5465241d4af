-- Content samples.

-- name: keep
-- In: fact_id, call_id, at (microseconds), team_id, user_id, key_id, alias, model, outcome, request, reply,
-- cut, as arrays of one length. Out: a row for each that is new. What a process still sends for a team whose
-- samples are off by now is let go.
INSERT INTO content_samples (
    fact_id, call_id, at, team_id, user_id, key_id, alias, model, outcome, request, reply, cut
)
SELECT
    s.fact_id, s.call_id, 'epoch'::timestamptz + s.at_us * interval '1 microsecond', s.team_id, s.user_id,
    s.key_id, s.alias, s.model, s.outcome, s.request, s.reply, s.cut
FROM unnest(
    $1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::boolean[]
) AS s (fact_id, call_id, at_us, team_id, user_id, key_id, alias, model, outcome, request, reply, cut)
JOIN teams AS t ON t.id::text = s.team_id AND t.content = 'samples' AND t.archived_at IS NULL
ON CONFLICT (fact_id) DO NOTHING
RETURNING fact_id

-- name: prune
-- Out: a row for each that went. A team that is gone kept nothing longer than the default.
DELETE FROM content_samples AS s
WHERE s.at < now() - coalesce(
    (SELECT t.content_days FROM teams AS t WHERE t.id::text = s.team_id), 7
) * interval '1 day'
RETURNING fact_id
