-- The audit log stays appended to; what is older than a pruning says, and than 30 days, may go.

-- name: young
-- Row trigger: a row goes only while a transaction prunes (mesh.prune_before is set), and only if it is older
-- than that moment and than 30 days, whatever the moment is.
CREATE FUNCTION mesh_refuse_young() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF OLD.at < nullif(current_setting('mesh.prune_before', true), '')::timestamptz
     AND OLD.at < now() - interval '30 days' THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION '% on % is refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END $$

-- name: kept
CREATE TRIGGER audit_log_kept BEFORE UPDATE OR TRUNCATE ON audit_log
FOR EACH STATEMENT EXECUTE FUNCTION mesh_refuse('the audit log is only ever appended to')

-- name: pruned
CREATE TRIGGER audit_log_pruned BEFORE DELETE ON audit_log
FOR EACH ROW EXECUTE FUNCTION mesh_refuse_young('the audit log is only ever appended to')

-- name: changes_at
CREATE INDEX ix_changes_at ON changes (at)

-- name: dead_at
CREATE INDEX ix_telemetry_dead_at ON telemetry_dead (at)
