-- Starts of minutes, hours and days as functions of their arguments alone, whatever zone a session is in.

-- name: usage_floor
-- The start of the minute, hour or day (UTC) of a moment; NULL is the end of time.
CREATE OR REPLACE FUNCTION usage_floor(unit text, moment timestamptz)
RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT date_trunc(unit, coalesce(moment, 'infinity') AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
$$

-- name: usage_ceiling
-- The first start of a minute, hour or day (UTC) that is not before a moment; NULL is the beginning of time.
CREATE OR REPLACE FUNCTION usage_ceiling(unit text, moment timestamptz)
RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT date_trunc(
    unit,
    (coalesce(moment, '-infinity') AT TIME ZONE 'UTC')
    + CASE unit WHEN 'day' THEN interval '1 day' WHEN 'hour' THEN interval '1 hour' ELSE interval '1 minute' END
    - interval '1 microsecond'
) AT TIME ZONE 'UTC'
$$
