-- Which budgets Redis was told of before callers were.

-- name: lock
-- One publisher at a time opens budgets; until its transaction ends.
SELECT pg_advisory_xact_lock(7310302735421373)

-- name: unopened
-- In: the text of "budgets" in usage_budgets.sql, put in before it is sent. Out: those of them that no caller
-- can have heard of yet, and whether they are the first under their hash tag.
SELECT b.*, NOT EXISTS (SELECT FROM opened_budgets AS o WHERE o.tag = b.tag) AS first
FROM ({budgets}) AS b
WHERE NOT EXISTS (SELECT FROM opened_budgets AS o WHERE o.tag = b.tag AND o.limit_id = b.id::uuid)
ORDER BY b.tag, b.id

-- name: opened
-- In: hash tags and ids of limits, arrays of one length.
INSERT INTO opened_budgets (tag, limit_id)
SELECT tag, id::uuid FROM unnest($1::text[], $2::text[]) AS opened (tag, id)
ON CONFLICT DO NOTHING
