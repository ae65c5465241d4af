-- Day partitions of usage_events: usage_events_p<YYYYMMDD>, over the ids minted that day (UTC).

-- name: lock
-- Whoever makes or drops partitions holds this until commit; any number, the same in every version.
SELECT pg_advisory_xact_lock(7310302735421370)

-- name: existing
-- Out: names of the partitions, oldest first.
SELECT child.relname AS name
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = 'usage_events'::regclass
ORDER BY child.relname

-- name: create
-- In: {name}. Made apart and attached below: PARTITION OF would stop every reader and writer.
CREATE TABLE {name} (LIKE usage_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)

-- name: attach
-- In: {name}, {lower}, {upper}: the first ids of this day and of the next.
ALTER TABLE usage_events ATTACH PARTITION {name} FOR VALUES FROM ('{lower}') TO ('{upper}')

-- name: drop
-- In: {name}.
DROP TABLE {name}
