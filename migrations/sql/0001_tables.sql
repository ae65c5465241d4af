-- The tables of 0001. `alembic check` (tests/store/test_migrations.py) compares them with the tables in code.

-- name: revisions
CREATE TABLE revisions (
  id BOOLEAN DEFAULT true NOT NULL,
  epoch UUID NOT NULL,
  revision BIGINT DEFAULT 0 NOT NULL,
  keys_revision BIGINT DEFAULT 0 NOT NULL,
  CONSTRAINT pk_revisions PRIMARY KEY (id),
  CONSTRAINT ck_revisions_single_row CHECK (id)
)

-- name: changes
CREATE TABLE changes (
  id BIGINT GENERATED ALWAYS AS IDENTITY,
  stream TEXT NOT NULL,
  revision BIGINT NOT NULL,
  kind TEXT NOT NULL,
  entity_id TEXT NOT NULL,
  action TEXT NOT NULL,
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_changes PRIMARY KEY (id),
  CONSTRAINT ck_changes_stream_known CHECK (stream IN ('config', 'keys')),
  CONSTRAINT ck_changes_action_known CHECK (action IN ('insert', 'update', 'delete'))
)

-- name: ix_changes_stream_revision
CREATE INDEX ix_changes_stream_revision ON changes (stream, revision)

-- name: audit_log
CREATE TABLE audit_log (
  id UUID NOT NULL,
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  kind TEXT NOT NULL,
  entity_id TEXT NOT NULL,
  entity_name TEXT NOT NULL,
  revision BIGINT NOT NULL,
  keys_revision BIGINT NOT NULL,
  before JSONB,
  after JSONB,
  CONSTRAINT pk_audit_log PRIMARY KEY (id),
  CONSTRAINT ck_audit_log_actor_length CHECK (char_length(actor) BETWEEN 1 AND 200)
)

-- name: ix_audit_log_at
CREATE INDEX ix_audit_log_at ON audit_log (at)

-- name: ix_audit_log_kind_entity_id
CREATE INDEX ix_audit_log_kind_entity_id ON audit_log (kind, entity_id)

-- name: teams
CREATE TABLE teams (
  id UUID NOT NULL,
  name TEXT NOT NULL,
  description TEXT DEFAULT '' NOT NULL,
  metadata JSONB DEFAULT '{}'::jsonb NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  revision BIGINT DEFAULT 1 NOT NULL,
  archived_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_teams PRIMARY KEY (id),
  CONSTRAINT ck_teams_name_form CHECK (name ~ '^[a-z0-9][a-z0-9._/-]{0,127}$'),
  CONSTRAINT ck_teams_description_length CHECK (char_length(description) <= 1000),
  CONSTRAINT ck_teams_metadata_object CHECK (jsonb_typeof(metadata) = 'object')
)

-- name: uq_teams_live_name
CREATE UNIQUE INDEX uq_teams_live_name ON teams (name) WHERE archived_at IS NULL

-- name: users
CREATE TABLE users (
  id UUID NOT NULL,
  name TEXT NOT NULL,
  description TEXT DEFAULT '' NOT NULL,
  metadata JSONB DEFAULT '{}'::jsonb NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  revision BIGINT DEFAULT 1 NOT NULL,
  archived_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_users PRIMARY KEY (id),
  CONSTRAINT ck_users_name_form CHECK (name ~ '^[a-z0-9][a-z0-9._/@+-]{0,127}$'),
  CONSTRAINT ck_users_description_length CHECK (char_length(description) <= 1000),
  CONSTRAINT ck_users_metadata_object CHECK (jsonb_typeof(metadata) = 'object')
)

-- name: uq_users_live_name
CREATE UNIQUE INDEX uq_users_live_name ON users (name) WHERE archived_at IS NULL

-- name: members
CREATE TABLE members (
  team_id UUID NOT NULL,
  user_id UUID NOT NULL,
  role TEXT DEFAULT 'member' NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  revision BIGINT DEFAULT 1 NOT NULL,
  archived_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_members PRIMARY KEY (team_id, user_id),
  CONSTRAINT ck_members_role_known CHECK (role IN ('member', 'admin')),
  CONSTRAINT fk_members_team_id_teams FOREIGN KEY(team_id) REFERENCES teams (id) ON DELETE RESTRICT,
  CONSTRAINT fk_members_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE RESTRICT
)

-- name: ix_members_user_id
CREATE INDEX ix_members_user_id ON members (user_id)

-- name: keys
CREATE TABLE keys (
  id TEXT NOT NULL,
  team_id UUID NOT NULL,
  user_id UUID,
  description TEXT DEFAULT '' NOT NULL,
  aliases TEXT[],
  expires_at TIMESTAMP WITH TIME ZONE,
  revoked_at TIMESTAMP WITH TIME ZONE,
  metadata JSONB DEFAULT '{}'::jsonb NOT NULL,
  keys_revision BIGINT DEFAULT 0 NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  revision BIGINT DEFAULT 1 NOT NULL,
  CONSTRAINT pk_keys PRIMARY KEY (id),
  CONSTRAINT fk_keys_team_id_user_id_members FOREIGN KEY(team_id, user_id) REFERENCES members (team_id, user_id) ON DELETE RESTRICT,
  CONSTRAINT ck_keys_id_form CHECK (id ~ '^[0-9A-Za-z]{8}$'),
  CONSTRAINT ck_keys_description_length CHECK (char_length(description) <= 1000),
  CONSTRAINT ck_keys_aliases_count CHECK (aliases IS NULL OR cardinality(aliases) BETWEEN 1 AND 1000),
  CONSTRAINT ck_keys_metadata_object CHECK (jsonb_typeof(metadata) = 'object'),
  CONSTRAINT fk_keys_team_id_teams FOREIGN KEY(team_id) REFERENCES teams (id) ON DELETE RESTRICT
)

-- name: ix_keys_keys_revision
CREATE INDEX ix_keys_keys_revision ON keys (keys_revision)

-- name: ix_keys_team_id_user_id
CREATE INDEX ix_keys_team_id_user_id ON keys (team_id, user_id)

-- name: key_secrets
CREATE TABLE key_secrets (
  digest BYTEA NOT NULL,
  key_id TEXT NOT NULL,
  trust BYTEA,
  last_four TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_key_secrets PRIMARY KEY (digest),
  CONSTRAINT ck_key_secrets_digest_length CHECK (octet_length(digest) = 32),
  CONSTRAINT ck_key_secrets_trust_length CHECK (octet_length(trust) = 32),
  CONSTRAINT ck_key_secrets_last_four_form CHECK (last_four ~ '^[0-9A-Za-z]{4}$'),
  CONSTRAINT fk_key_secrets_key_id_keys FOREIGN KEY(key_id) REFERENCES keys (id) ON DELETE RESTRICT
)

-- name: ix_key_secrets_key_id
CREATE INDEX ix_key_secrets_key_id ON key_secrets (key_id)

-- name: uq_key_secrets_current
CREATE UNIQUE INDEX uq_key_secrets_current ON key_secrets (key_id) WHERE expires_at IS NULL

-- name: providers
CREATE TABLE providers (
  id UUID NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  base_url TEXT,
  secret JSONB,
  headers JSONB DEFAULT '{}'::jsonb NOT NULL,
  query JSONB DEFAULT '{}'::jsonb NOT NULL,
  options JSONB DEFAULT '{}'::jsonb NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  revision BIGINT DEFAULT 1 NOT NULL,
  archived_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_providers PRIMARY KEY (id),
  CONSTRAINT ck_providers_name_form CHECK (name ~ '^[a-z0-9][a-z0-9._/-]{0,127}$'),
  CONSTRAINT ck_providers_kind_known CHECK (kind IN ('openai', 'anthropic', 'litellm')),
  CONSTRAINT ck_providers_base_url_form CHECK (base_url IS NULL OR base_url ~ '^https?://'),
  CONSTRAINT ck_providers_secret_reference CHECK (secret IS NULL OR (jsonb_typeof(secret) = 'string' AND secret #>> '{}' ~ '^(env|file):.') OR (jsonb_typeof(secret) = 'object' AND NOT jsonb_path_exists(secret, '$.* ? (@.type() != "string" || !(@ like_regex "^(env|file):."))'))),
  CONSTRAINT ck_providers_headers_object CHECK (jsonb_typeof(headers) = 'object'),
  CONSTRAINT ck_providers_query_object CHECK (jsonb_typeof(query) = 'object'),
  CONSTRAINT ck_providers_options_object CHECK (jsonb_typeof(options) = 'object')
)

-- name: uq_providers_live_name
CREATE UNIQUE INDEX uq_providers_live_name ON providers (name) WHERE archived_at IS NULL

-- name: aliases
CREATE TABLE aliases (
  id UUID NOT NULL,
  team_id UUID,
  name TEXT NOT NULL,
  operations TEXT[] NOT NULL,
  everyone BOOLEAN DEFAULT true NOT NULL,
  defaults JSONB DEFAULT '{}'::jsonb NOT NULL,
  forced JSONB DEFAULT '{}'::jsonb NOT NULL,
  max_output_tokens BIGINT,
  timeout_us BIGINT DEFAULT 600000000 NOT NULL,
  deprecated TEXT,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  revision BIGINT DEFAULT 1 NOT NULL,
  archived_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_aliases PRIMARY KEY (id),
  CONSTRAINT ck_aliases_name_form CHECK (name ~ '^[a-z0-9][a-z0-9._/-]{0,127}$'),
  CONSTRAINT ck_aliases_own_alias_ungranted CHECK (team_id IS NULL OR everyone),
  CONSTRAINT ck_aliases_operations_known CHECK (cardinality(operations) >= 1 AND operations <@ ARRAY['chat', 'embeddings', 'responses', 'text_completion']),
  CONSTRAINT ck_aliases_max_output_tokens_range CHECK (max_output_tokens BETWEEN 1 AND 1000000000),
  CONSTRAINT ck_aliases_timeout_us_range CHECK (timeout_us BETWEEN 1000 AND 86400000000),
  CONSTRAINT ck_aliases_deprecated_length CHECK (char_length(deprecated) BETWEEN 1 AND 1000),
  CONSTRAINT ck_aliases_defaults_object CHECK (jsonb_typeof(defaults) = 'object'),
  CONSTRAINT ck_aliases_forced_object CHECK (jsonb_typeof(forced) = 'object'),
  CONSTRAINT fk_aliases_team_id_teams FOREIGN KEY(team_id) REFERENCES teams (id) ON DELETE RESTRICT
)

-- name: uq_aliases_live_name
CREATE UNIQUE INDEX uq_aliases_live_name ON aliases (name) WHERE archived_at IS NULL AND team_id IS NULL

-- name: uq_aliases_live_team_name
CREATE UNIQUE INDEX uq_aliases_live_team_name ON aliases (team_id, name) WHERE archived_at IS NULL AND team_id IS NOT NULL

-- name: alias_grants
CREATE TABLE alias_grants (
  alias_id UUID NOT NULL,
  team_id UUID NOT NULL,
  CONSTRAINT pk_alias_grants PRIMARY KEY (alias_id, team_id),
  CONSTRAINT fk_alias_grants_alias_id_aliases FOREIGN KEY(alias_id) REFERENCES aliases (id) ON DELETE CASCADE,
  CONSTRAINT fk_alias_grants_team_id_teams FOREIGN KEY(team_id) REFERENCES teams (id) ON DELETE RESTRICT
)

-- name: ix_alias_grants_team_id
CREATE INDEX ix_alias_grants_team_id ON alias_grants (team_id)

-- name: targets
CREATE TABLE targets (
  id UUID NOT NULL,
  alias_id UUID NOT NULL,
  provider_id UUID NOT NULL,
  model TEXT NOT NULL,
  position INTEGER NOT NULL,
  tier INTEGER DEFAULT 1 NOT NULL,
  weight INTEGER DEFAULT 1 NOT NULL,
  params JSONB DEFAULT '{}'::jsonb NOT NULL,
  max_output_tokens BIGINT,
  context_window BIGINT,
  archived_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_targets PRIMARY KEY (id),
  CONSTRAINT ck_targets_model_length CHECK (char_length(model) BETWEEN 1 AND 256),
  CONSTRAINT ck_targets_tier_range CHECK (tier BETWEEN 1 AND 100),
  CONSTRAINT ck_targets_weight_range CHECK (weight BETWEEN 0 AND 1000000),
  CONSTRAINT ck_targets_max_output_tokens_range CHECK (max_output_tokens BETWEEN 1 AND 1000000000),
  CONSTRAINT ck_targets_context_window_range CHECK (context_window BETWEEN 1 AND 1000000000),
  CONSTRAINT ck_targets_params_object CHECK (jsonb_typeof(params) = 'object'),
  CONSTRAINT fk_targets_alias_id_aliases FOREIGN KEY(alias_id) REFERENCES aliases (id) ON DELETE CASCADE,
  CONSTRAINT fk_targets_provider_id_providers FOREIGN KEY(provider_id) REFERENCES providers (id) ON DELETE RESTRICT
)

-- name: ix_targets_provider_id
CREATE INDEX ix_targets_provider_id ON targets (provider_id)

-- name: uq_targets_live_alias_id_provider_id_model_tier
CREATE UNIQUE INDEX uq_targets_live_alias_id_provider_id_model_tier ON targets (alias_id, provider_id, model, tier) WHERE archived_at IS NULL

-- name: prices
CREATE TABLE prices (
  id UUID NOT NULL,
  provider_id UUID NOT NULL,
  model TEXT NOT NULL,
  input NUMERIC(18, 6) NOT NULL,
  output NUMERIC(18, 6) NOT NULL,
  cache_read NUMERIC(18, 6),
  cache_write NUMERIC(18, 6),
  reasoning NUMERIC(18, 6),
  request NUMERIC(18, 6) DEFAULT 0 NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  revision BIGINT DEFAULT 1 NOT NULL,
  archived_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_prices PRIMARY KEY (id),
  CONSTRAINT ck_prices_model_length CHECK (char_length(model) BETWEEN 1 AND 256),
  CONSTRAINT ck_prices_input_range CHECK (input >= 0 AND input <= 1000000),
  CONSTRAINT ck_prices_output_range CHECK (output >= 0 AND output <= 1000000),
  CONSTRAINT ck_prices_cache_read_range CHECK (cache_read >= 0 AND cache_read <= 1000000),
  CONSTRAINT ck_prices_cache_write_range CHECK (cache_write >= 0 AND cache_write <= 1000000),
  CONSTRAINT ck_prices_reasoning_range CHECK (reasoning >= 0 AND reasoning <= 1000000),
  CONSTRAINT ck_prices_request_range CHECK (request >= 0 AND request <= 1000000),
  CONSTRAINT fk_prices_provider_id_providers FOREIGN KEY(provider_id) REFERENCES providers (id) ON DELETE RESTRICT
)

-- name: uq_prices_live_provider_id_model
CREATE UNIQUE INDEX uq_prices_live_provider_id_model ON prices (provider_id, model) WHERE archived_at IS NULL

-- name: limits
CREATE TABLE limits (
  id UUID NOT NULL,
  team_id UUID,
  user_id UUID,
  key_id TEXT,
  alias_id UUID,
  provider_id UUID,
  target_id UUID,
  subject TEXT GENERATED ALWAYS AS (COALESCE(team_id::text, '') || '|' || COALESCE(user_id::text, '') || '|' || COALESCE(key_id::text, '') || '|' || COALESCE(alias_id::text, '') || '|' || COALESCE(provider_id::text, '') || '|' || COALESCE(target_id::text, '')) STORED NOT NULL,
  dimension TEXT NOT NULL,
  amount NUMERIC(28, 12) NOT NULL,
  period_us BIGINT NOT NULL,
  burst NUMERIC(28, 12),
  kind TEXT NOT NULL,
  hard BOOLEAN DEFAULT false NOT NULL,
  on_outage TEXT NOT NULL,
  tz TEXT DEFAULT 'UTC' NOT NULL,
  enforce BOOLEAN DEFAULT true NOT NULL,
  on_exhausted TEXT DEFAULT 'allow' NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  revision BIGINT DEFAULT 1 NOT NULL,
  archived_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_limits PRIMARY KEY (id),
  CONSTRAINT ck_limits_dimension_known CHECK (dimension IN ('requests', 'input_tokens', 'output_tokens', 'tokens', 'usd', 'concurrency')),
  CONSTRAINT ck_limits_kind_known CHECK (kind IN ('rate', 'window', 'slots')),
  CONSTRAINT ck_limits_kind_fits_dimension CHECK ((kind = 'slots') = (dimension = 'concurrency')),
  CONSTRAINT ck_limits_on_outage_known CHECK (on_outage IN ('closed', 'share', 'open')),
  CONSTRAINT ck_limits_on_exhausted_known CHECK (on_exhausted IN ('allow', 'cut')),
  CONSTRAINT ck_limits_amount_range CHECK (amount >= 0 AND amount <= 9007199254740991 AND (dimension = 'usd' OR amount = trunc(amount))),
  CONSTRAINT ck_limits_burst_range CHECK (burst >= 0 AND burst <= 9007199254740991 AND (dimension = 'usd' OR burst = trunc(burst))),
  CONSTRAINT ck_limits_period_us_range CHECK (period_us BETWEEN 1 AND 9007199254740991),
  CONSTRAINT ck_limits_target_has_alias CHECK (target_id IS NULL OR alias_id IS NOT NULL),
  CONSTRAINT fk_limits_team_id_teams FOREIGN KEY(team_id) REFERENCES teams (id) ON DELETE RESTRICT,
  CONSTRAINT fk_limits_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE RESTRICT,
  CONSTRAINT fk_limits_key_id_keys FOREIGN KEY(key_id) REFERENCES keys (id) ON DELETE RESTRICT,
  CONSTRAINT fk_limits_alias_id_aliases FOREIGN KEY(alias_id) REFERENCES aliases (id) ON DELETE RESTRICT,
  CONSTRAINT fk_limits_provider_id_providers FOREIGN KEY(provider_id) REFERENCES providers (id) ON DELETE RESTRICT,
  CONSTRAINT fk_limits_target_id_targets FOREIGN KEY(target_id) REFERENCES targets (id) ON DELETE RESTRICT
)

-- name: ix_limits_alias_id
CREATE INDEX ix_limits_alias_id ON limits (alias_id)

-- name: ix_limits_key_id
CREATE INDEX ix_limits_key_id ON limits (key_id)

-- name: ix_limits_provider_id
CREATE INDEX ix_limits_provider_id ON limits (provider_id)

-- name: ix_limits_target_id
CREATE INDEX ix_limits_target_id ON limits (target_id)

-- name: ix_limits_team_id
CREATE INDEX ix_limits_team_id ON limits (team_id)

-- name: ix_limits_user_id
CREATE INDEX ix_limits_user_id ON limits (user_id)

-- name: uq_limits_live_subject
CREATE UNIQUE INDEX uq_limits_live_subject ON limits (subject, dimension, kind, period_us) WHERE archived_at IS NULL
