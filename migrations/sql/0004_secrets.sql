-- Tables and triggers of 0004. `alembic check` (tests/store/test_migrations.py) compares the tables
-- with those in code.

-- name: provider_secrets
CREATE TABLE provider_secrets (
  provider_id UUID NOT NULL,
  version BIGINT NOT NULL,
  address TEXT NOT NULL,
  labels TEXT[] NOT NULL,
  sealed BYTEA NOT NULL,
  master TEXT NOT NULL,
  set_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_provider_secrets PRIMARY KEY (provider_id),
  CONSTRAINT ck_provider_secrets_version_range CHECK (version >= 1),
  CONSTRAINT ck_provider_secrets_labels_count CHECK (cardinality(labels) BETWEEN 1 AND 50),
  CONSTRAINT ck_provider_secrets_sealed_length CHECK (octet_length(sealed) BETWEEN 16 AND 131072),
  CONSTRAINT fk_provider_secrets_provider_id_providers FOREIGN KEY (provider_id)
    REFERENCES providers (id) ON DELETE RESTRICT
)

-- name: team_data_keys
CREATE TABLE team_data_keys (
  id UUID NOT NULL,
  team_id UUID NOT NULL,
  sealed BYTEA,
  master TEXT NOT NULL,
  covers UUID[] NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  retired_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_team_data_keys PRIMARY KEY (id),
  CONSTRAINT ck_team_data_keys_present_is_kept CHECK (sealed IS NOT NULL OR retired_at IS NOT NULL),
  CONSTRAINT fk_team_data_keys_team_id_teams FOREIGN KEY (team_id) REFERENCES teams (id) ON DELETE RESTRICT
)

-- name: uq_team_data_keys_present
CREATE UNIQUE INDEX uq_team_data_keys_present ON team_data_keys (team_id) WHERE retired_at IS NULL

-- name: ix_team_data_keys_team_id
CREATE INDEX ix_team_data_keys_team_id ON team_data_keys (team_id)

-- name: sealing_state
CREATE TABLE sealing_state (
  id BOOLEAN DEFAULT true NOT NULL,
  revision BIGINT NOT NULL,
  keys_revision BIGINT NOT NULL,
  next_end TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_sealing_state PRIMARY KEY (id),
  CONSTRAINT ck_sealing_state_single_row CHECK (id)
)

-- name: sealing_public
ALTER TABLE key_secrets ADD COLUMN sealing_public BYTEA,
  ADD CONSTRAINT ck_key_secrets_sealing_public_length CHECK (octet_length(sealing_public) = 32)

-- name: data_key_id
ALTER TABLE key_secrets ADD COLUMN data_key_id UUID,
  ADD CONSTRAINT fk_key_secrets_data_key_id_team_data_keys FOREIGN KEY (data_key_id)
    REFERENCES team_data_keys (id) ON DELETE RESTRICT

-- name: ix_key_secrets_data_key_id
CREATE INDEX ix_key_secrets_data_key_id ON key_secrets (data_key_id)

-- name: secret_reference
ALTER TABLE providers DROP CONSTRAINT ck_providers_secret_reference,
  ADD CONSTRAINT ck_providers_secret_reference CHECK (
    secret IS NULL
    OR (jsonb_typeof(secret) = 'string' AND secret #>> '{}' ~ '^(env|file|sealed):.')
    OR (jsonb_typeof(secret) = 'object' AND secret -> 'federated' IS NULL AND NOT jsonb_path_exists(secret,
      '$.* ? (@.type() != "string" || !(@ like_regex "^(env|file|sealed):."))'))
    OR (jsonb_typeof(secret -> 'federated') = 'object' AND secret - 'federated' = '{}'::jsonb
      AND secret #>> '{federated,token_url}' ~ '^https?://'
      AND secret #>> '{federated,subject_token}' ~ '^(env|file):.'
      AND coalesce(secret #>> '{federated,client_secret}', 'env:-') ~ '^(env|file):.')
  )

-- name: team_of_provider
ALTER TABLE providers ADD COLUMN team_id UUID,
  ADD CONSTRAINT fk_providers_team_id_teams FOREIGN KEY (team_id) REFERENCES teams (id) ON DELETE RESTRICT

-- name: drop_uq_providers_live_name
DROP INDEX uq_providers_live_name

-- name: uq_providers_live_name
CREATE UNIQUE INDEX uq_providers_live_name ON providers (name) WHERE archived_at IS NULL AND team_id IS NULL

-- name: uq_providers_live_team_name
CREATE UNIQUE INDEX uq_providers_live_team_name ON providers (team_id, name)
WHERE archived_at IS NULL AND team_id IS NOT NULL

-- name: provider_secrets_recorded
CREATE CONSTRAINT TRIGGER provider_secrets_recorded AFTER INSERT OR UPDATE OR DELETE ON provider_secrets
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mesh_record_change('secret', 'provider_id')

-- name: team_data_keys_recorded
-- Not `covers`: what it covers is told by other changes.
CREATE CONSTRAINT TRIGGER team_data_keys_recorded AFTER INSERT OR UPDATE OF retired_at ON team_data_keys
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mesh_record_change('data_key', 'id')

-- name: team_data_keys_kept
CREATE TRIGGER team_data_keys_kept BEFORE DELETE OR TRUNCATE ON team_data_keys
FOR EACH STATEMENT EXECUTE FUNCTION mesh_refuse('it tells which secrets a revoked key may have seen')
