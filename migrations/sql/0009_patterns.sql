-- Aliases that are patterns, and canaries.

-- name: alias_names
ALTER TABLE aliases DROP CONSTRAINT ck_aliases_name_form,
  ADD CONSTRAINT ck_aliases_name_form CHECK (
    name ~ '^[a-z0-9][a-z0-9._/-]{0,127}$' OR name ~ '^[a-z0-9][a-z0-9._/-]{0,125}/[*]$'
  )

-- name: canaries
ALTER TABLE targets ADD COLUMN canary INTEGER DEFAULT 0 NOT NULL,
  ADD CONSTRAINT ck_targets_canary_range CHECK (canary BETWEEN 0 AND 1000000)
