-- Data keys for keys that are confined to some aliases: one for each set of providers these lead to.

-- name: scope
ALTER TABLE team_data_keys ADD COLUMN scope UUID[],
  ADD CONSTRAINT ck_team_data_keys_scope_is_covered CHECK (scope = covers)

-- name: drop_uq_team_data_keys_present
DROP INDEX uq_team_data_keys_present

-- name: uq_team_data_keys_present
CREATE UNIQUE INDEX uq_team_data_keys_present ON team_data_keys (team_id)
WHERE retired_at IS NULL AND scope IS NULL

-- name: uq_team_data_keys_present_scope
CREATE UNIQUE INDEX uq_team_data_keys_present_scope ON team_data_keys (team_id, scope)
WHERE retired_at IS NULL AND scope IS NOT NULL

-- name: held
ALTER TABLE key_secrets ADD COLUMN held UUID[] DEFAULT '{}' NOT NULL

-- name: ix_keys_confined
CREATE INDEX ix_keys_confined ON keys (keys_revision) WHERE aliases IS NOT NULL AND revoked_at IS NULL

-- name: reach
ALTER TABLE sealing_state ADD COLUMN reach TEXT

-- name: look_at_all
-- Confined keys hold their teams' data keys: the next publish looks at all of them.
DELETE FROM sealing_state
