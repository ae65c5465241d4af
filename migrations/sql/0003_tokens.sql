-- The table of 0003. `alembic check` (tests/store/test_migrations.py) compares it with the table in code.

-- name: admin_tokens
CREATE TABLE admin_tokens (
  id TEXT NOT NULL,
  role TEXT NOT NULL,
  team_id UUID,
  description TEXT DEFAULT '' NOT NULL,
  digest BYTEA NOT NULL,
  last_four TEXT NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE,
  revoked_at TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  revision BIGINT DEFAULT 1 NOT NULL,
  CONSTRAINT pk_admin_tokens PRIMARY KEY (id),
  CONSTRAINT ck_admin_tokens_id_form CHECK (id ~ '^[0-9A-Za-z]{8}$'),
  CONSTRAINT ck_admin_tokens_role_known CHECK (role IN ('admin', 'team-admin', 'viewer')),
  CONSTRAINT ck_admin_tokens_team_admin_has_team CHECK (role <> 'team-admin' OR team_id IS NOT NULL),
  CONSTRAINT ck_admin_tokens_admin_has_no_team CHECK (role <> 'admin' OR team_id IS NULL),
  CONSTRAINT ck_admin_tokens_description_length CHECK (char_length(description) <= 1000),
  CONSTRAINT ck_admin_tokens_digest_length CHECK (octet_length(digest) = 32),
  CONSTRAINT ck_admin_tokens_last_four_form CHECK (last_four ~ '^[0-9A-Za-z]{4}$'),
  CONSTRAINT fk_admin_tokens_team_id_teams FOREIGN KEY (team_id) REFERENCES teams (id) ON DELETE RESTRICT
)

-- name: uq_admin_tokens_digest
CREATE UNIQUE INDEX uq_admin_tokens_digest ON admin_tokens (digest)

-- name: ix_admin_tokens_team_id
CREATE INDEX ix_admin_tokens_team_id ON admin_tokens (team_id)

-- name: raised
CREATE TRIGGER admin_tokens_raised BEFORE UPDATE ON admin_tokens
FOR EACH ROW EXECUTE FUNCTION mesh_raise_row_revision()

-- name: kept
CREATE TRIGGER admin_tokens_kept BEFORE DELETE OR TRUNCATE ON admin_tokens
FOR EACH STATEMENT EXECUTE FUNCTION mesh_refuse('revoke the token; the audit log goes on naming it')
