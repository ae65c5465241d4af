-- Functions and triggers of 0001: the order of changes, row revisions, and what may not be undone.
-- Alembic sees none of them; tests/store/test_migrations.py does.

-- name: take_revision
-- Return this transaction's number in a stream ('config' or 'keys'), raising the counter on the first
-- call. It runs in deferred triggers, so the counter's row is locked only while committing: numbers
-- are handed out in commit order and without gaps. A sequence would do neither.
CREATE FUNCTION mesh_take_revision(stream text) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  setting text := 'mesh.' || stream || '_revision';
  taken text := current_setting(setting, true);
  me text := pg_current_xact_id()::text;
  number bigint;
BEGIN
  -- The setting carries the transaction's id, so that a session-wide SET cannot pretend.
  IF split_part(taken, ':', 1) = me THEN
    RETURN split_part(taken, ':', 2)::bigint;
  END IF;
  IF stream = 'keys' THEN
    UPDATE revisions SET keys_revision = keys_revision + 1 RETURNING keys_revision INTO STRICT number;
  ELSE
    UPDATE revisions SET revision = revision + 1 RETURNING revision INTO STRICT number;
  END IF;
  PERFORM set_config(setting, me || ':' || number, true);
  PERFORM pg_notify('mesh_revision', stream || ' ' || number);
  RETURN number;
END $$

-- name: record_change
-- Deferred trigger of every table a snapshot or an operator reads: one `changes` row per changed row.
-- Arguments: the kind, then the column(s) that make the id, joined by '/'.
CREATE FUNCTION mesh_record_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  changed jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
  entity text := changed ->> TG_ARGV[1];
BEGIN
  IF TG_NARGS > 2 THEN
    entity := entity || '/' || (changed ->> TG_ARGV[2]);
  END IF;
  INSERT INTO changes (stream, revision, kind, entity_id, action)
  VALUES ('config', mesh_take_revision('config'), TG_ARGV[0], entity, lower(TG_OP));
  RETURN NULL;
END $$

-- name: record_key_change
-- Deferred trigger of `keys` and `key_secrets`: keys have an order of their own, and every key
-- carries the number of its last change, so that a publisher reads only what is newer.
CREATE FUNCTION mesh_record_key_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  key text := to_jsonb(NEW) ->> TG_ARGV[0];
  number bigint := mesh_take_revision('keys');
BEGIN
  UPDATE keys SET keys_revision = number WHERE id = key AND keys_revision <> number;
  IF FOUND THEN
    INSERT INTO changes (stream, revision, kind, entity_id, action)
    VALUES ('keys', number, 'key', key, CASE WHEN TG_OP = 'INSERT' AND TG_TABLE_NAME = 'keys'
                                             THEN 'insert' ELSE 'update' END);
  END IF;
  RETURN NULL;
END $$

-- name: raise_row_revision
-- BEFORE UPDATE: the row's own count of changes, for optimistic concurrency.
CREATE FUNCTION mesh_raise_row_revision() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  NEW.revision := OLD.revision + 1;
  IF NEW.updated_at = OLD.updated_at THEN
    NEW.updated_at := now();
  END IF;
  RETURN NEW;
END $$

-- name: refuse
-- Statement trigger: what must stay (history, keys whose digests callers still hold) stays.
CREATE FUNCTION mesh_refuse() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  RAISE EXCEPTION '% on % is refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END $$
