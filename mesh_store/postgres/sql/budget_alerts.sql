-- Budget alerts: what was told to whom.

-- name: lock
-- Out: whether this transaction is the only one that tells.
SELECT pg_try_advisory_xact_lock(7310302735421372)

-- name: forget
-- A window that ended a week ago alerts no more.
DELETE FROM budget_alerts WHERE ends_at < now() - interval '7 days'

-- name: told
SELECT
    limit_id,
    (extract(epoch FROM starts_at) * 1000000)::bigint,
    (extract(epoch FROM ends_at) * 1000000)::bigint,
    percent,
    recipient
FROM budget_alerts

-- name: note
INSERT INTO budget_alerts (limit_id, starts_at, ends_at, percent, recipient)
VALUES (
    $1,
    'epoch'::timestamptz + $2::bigint * interval '1 microsecond',
    'epoch'::timestamptz + $3::bigint * interval '1 microsecond',
    $4,
    $5
)
ON CONFLICT DO NOTHING
