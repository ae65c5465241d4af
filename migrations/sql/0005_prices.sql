-- Prices through time, and what changed prices did to calls that had been counted already.

-- name: price_versions
-- Only ever appended to. At any moment the row recorded last among those valid then decides, for each
-- service and size; rates that are NULL go back to the built-in list. USD per million tokens.
CREATE TABLE price_versions (
    id bigint GENERATED ALWAYS AS IDENTITY,
    provider_id uuid NOT NULL,
    model text NOT NULL,
    service text DEFAULT 'standard' NOT NULL,
    above bigint DEFAULT 0 NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz,
    input numeric(18, 6),
    output numeric(18, 6),
    cache_read numeric(18, 6),
    cache_write numeric(18, 6),
    cache_write_1h numeric(18, 6),
    reasoning numeric(18, 6),
    audio_input numeric(18, 6),
    audio_output numeric(18, 6),
    request numeric(18, 6) DEFAULT 0 NOT NULL,
    actor text DEFAULT '' NOT NULL,
    recorded_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_price_versions PRIMARY KEY (id),
    CONSTRAINT fk_price_versions_provider_id_providers
        FOREIGN KEY (provider_id) REFERENCES providers (id) ON DELETE RESTRICT,
    CONSTRAINT ck_price_versions_model_length CHECK (char_length(model) BETWEEN 1 AND 256),
    CONSTRAINT ck_price_versions_service_form CHECK (service ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    CONSTRAINT ck_price_versions_above_range CHECK (above >= 0),
    CONSTRAINT ck_price_versions_span_forward CHECK (valid_to > valid_from),
    CONSTRAINT ck_price_versions_both_rates CHECK ((input IS NULL) = (output IS NULL)),
    CONSTRAINT ck_price_versions_input_range CHECK (input >= 0 AND input <= 1000000),
    CONSTRAINT ck_price_versions_output_range CHECK (output >= 0 AND output <= 1000000),
    CONSTRAINT ck_price_versions_cache_read_range CHECK (cache_read >= 0 AND cache_read <= 1000000),
    CONSTRAINT ck_price_versions_cache_write_range CHECK (cache_write >= 0 AND cache_write <= 1000000),
    CONSTRAINT ck_price_versions_cache_write_1h_range
        CHECK (cache_write_1h >= 0 AND cache_write_1h <= 1000000),
    CONSTRAINT ck_price_versions_reasoning_range CHECK (reasoning >= 0 AND reasoning <= 1000000),
    CONSTRAINT ck_price_versions_audio_input_range CHECK (audio_input >= 0 AND audio_input <= 1000000),
    CONSTRAINT ck_price_versions_audio_output_range CHECK (audio_output >= 0 AND audio_output <= 1000000),
    CONSTRAINT ck_price_versions_request_range CHECK (request >= 0 AND request <= 1000000)
)

-- name: price_versions_of_a_model
CREATE INDEX ix_price_versions_provider_id_model ON price_versions (provider_id, model)

-- name: price_versions_known
-- Prices that were set before there was a history hold since they were last changed.
INSERT INTO price_versions (
    provider_id, model, valid_from, input, output, cache_read, cache_write, reasoning, request
)
SELECT provider_id, model, updated_at, input, output, cache_read, cache_write, reasoning, request
FROM prices
WHERE archived_at IS NULL
ORDER BY updated_at

-- name: price_versions_kept
CREATE TRIGGER price_versions_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON price_versions
FOR EACH STATEMENT EXECUTE FUNCTION mesh_refuse('prices are only ever appended to; record a newer one')

-- name: price_versions_recorded
CREATE CONSTRAINT TRIGGER price_versions_recorded AFTER INSERT ON price_versions
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mesh_record_change('price', 'id')

-- name: version_price
-- Trigger of `prices`: whoever sets a price, by whatever door, adds to the history. It holds from now
-- until the next change that is planned already.
CREATE FUNCTION mesh_version_price() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  gone boolean := NEW.archived_at IS NOT NULL;
BEGIN
  INSERT INTO price_versions (
    provider_id, model, valid_from, valid_to, input, output, cache_read, cache_write, reasoning, request
  )
  SELECT NEW.provider_id, NEW.model, now(),
         (SELECT min(valid_from) FROM price_versions
          WHERE provider_id = NEW.provider_id AND model = NEW.model AND service = 'standard'
            AND above = 0 AND valid_from > now()),
         CASE WHEN NOT gone THEN NEW.input END, CASE WHEN NOT gone THEN NEW.output END,
         CASE WHEN NOT gone THEN NEW.cache_read END, CASE WHEN NOT gone THEN NEW.cache_write END,
         CASE WHEN NOT gone THEN NEW.reasoning END, CASE WHEN gone THEN 0 ELSE NEW.request END;
  RETURN NULL;
END $$

-- name: prices_versioned
CREATE TRIGGER prices_versioned
AFTER INSERT OR UPDATE OF input, output, cache_read, cache_write, reasoning, request, archived_at ON prices
FOR EACH ROW EXECUTE FUNCTION mesh_version_price()

-- name: usage_events_service
-- What prices may depend on besides tokens.
ALTER TABLE usage_events
    ADD COLUMN cache_write_1h_tokens bigint DEFAULT 0 NOT NULL,
    ADD COLUMN service text

-- name: adjustments
-- What re-pricing changed, one row per fact and re-pricing: a fact costs what its row says plus these.
-- Dimensions are copied, so that reports stay right when the fact's day was dropped; '' stands for NULL.
CREATE TABLE adjustments (
    id bigint GENERATED ALWAYS AS IDENTITY,
    fact_id uuid NOT NULL,
    started_at timestamptz NOT NULL,
    team_id text NOT NULL,
    user_id text NOT NULL,
    key_id text NOT NULL,
    alias text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    cost_pico_usd numeric NOT NULL,
    priced boolean NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_adjustments PRIMARY KEY (id)
)

-- name: adjustments_of_a_fact
CREATE INDEX ix_adjustments_fact_id ON adjustments (fact_id)

-- name: adjustments_of_a_time
CREATE INDEX ix_adjustments_started_at ON adjustments (started_at)
