-- Sums per hour and day of a team, without its users and keys: what most of a month's questions need, and as
-- few of them however many keys call.

-- name: used_so_far
INSERT INTO usage_rollups (
    grain, starts_at, team_id, user_id, key_id, alias, provider, model, calls, attempts, denied, errors,
    cancelled, lost, estimated, unpriced, shadow_denied, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, cost_pico_usd, duration_us,
    latency, ttft, last_at
)
SELECT
    'team ' || grain, starts_at, team_id, '', '', alias, provider, model,
    sum(calls), sum(attempts), sum(denied), sum(errors), sum(cancelled), sum(lost), sum(estimated),
    sum(unpriced), sum(shadow_denied), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens),
    sum(cache_write_tokens), sum(reasoning_tokens), sum(audio_input_tokens), sum(audio_output_tokens),
    sum(cost_pico_usd), sum(duration_us), ARRAY[{latency}], ARRAY[{ttft}], max(last_at)
FROM usage_rollups WHERE grain IN ('hour', 'day')
GROUP BY 1, 2, 3, 6, 7, 8

-- name: adjusted_so_far
INSERT INTO adjustment_rollups
SELECT 'team ' || grain, starts_at, team_id, '', '', alias, provider, model, sum(newly_priced), sum(cost_pico_usd)
FROM adjustment_rollups WHERE grain IN ('hour', 'day')
GROUP BY 1, 2, 3, 6, 7, 8

-- name: roll
CREATE OR REPLACE FUNCTION roll_adjustments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO adjustment_rollups AS r
    SELECT
        CASE WHEN apart THEN grain ELSE 'team ' || grain END,
        date_trunc(grain, started_at, 'UTC'),
        team_id,
        CASE WHEN apart THEN user_id ELSE '' END,
        CASE WHEN apart THEN key_id ELSE '' END,
        alias, provider, model,
        count(*) FILTER (WHERE priced), sum(cost_pico_usd)
    FROM added
    CROSS JOIN (
        VALUES ('minute', true), ('hour', true), ('day', true), ('hour', false), ('day', false)
    ) AS grains (grain, apart)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
    ON CONFLICT (grain, starts_at, team_id, user_id, key_id, alias, provider, model) DO UPDATE SET
        newly_priced = r.newly_priced + excluded.newly_priced,
        cost_pico_usd = r.cost_pico_usd + excluded.cost_pico_usd;
    RETURN NULL;
END
$$
