-- A limit on a key is part of the key: it has the number of the keys' order, not of the configuration's.

-- name: record_limit_change
-- Deferred trigger of `limits`. A key's limit raises its key, so that a publisher writes its entry again.
CREATE FUNCTION mesh_record_limit_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  changed limits := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
  number bigint;
BEGIN
  IF changed.key_id IS NULL THEN
    INSERT INTO changes (stream, revision, kind, entity_id, action)
    VALUES ('config', mesh_take_revision('config'), 'limit', changed.id::text, lower(TG_OP));
    RETURN NULL;
  END IF;
  number := mesh_take_revision('keys');
  INSERT INTO changes (stream, revision, kind, entity_id, action)
  VALUES ('keys', number, 'limit', changed.id::text, lower(TG_OP));
  UPDATE keys SET keys_revision = number WHERE id = changed.key_id AND keys_revision <> number;
  RETURN NULL;
END $$

-- name: drop_limits_recorded
DROP TRIGGER limits_recorded ON limits

-- name: limits_recorded
CREATE CONSTRAINT TRIGGER limits_recorded AFTER INSERT OR UPDATE OR DELETE ON limits
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mesh_record_limit_change()

-- name: move_to_entries
UPDATE keys SET updated_at = updated_at
WHERE id IN (SELECT key_id FROM limits WHERE key_id IS NOT NULL AND archived_at IS NULL)

-- name: out_of_the_snapshot
SELECT mesh_take_revision('config') WHERE EXISTS (SELECT 1 FROM limits WHERE key_id IS NOT NULL)
