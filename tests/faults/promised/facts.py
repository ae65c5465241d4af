"""What is promised of facts from the ring to Postgres, and to whom they are passed on."""

from __future__ import annotations

from tests.faults.promised.kind import Promises

FACTS: Promises = {
    "a fact is sent once its settlement was answered, and many at once": (
        "telemetry/delivery::a_fact_is_not_shipped_before_its_settlement_was_answered",
        "telemetry/delivery::many_facts_share_an_entry",
        "telemetry/delivery::a_settlement_nobody_can_make_is_given_up_and_counted_and_holds_nothing_up",
    ),
    "facts are sent again when they are gone, and never because they merely wait": (
        "telemetry/delivery::entries_that_vanish_without_a_disconnect_are_sent_again",
        "telemetry/delivery::entries_that_merely_wait_for_a_collector_are_never_sent_again",
        "secrets/redis_users_can_do_what_they_must_and_no_more::facts_that_went_missing_are_sent_again_by_a_caller_that_cannot_read_them",
    ),
    "a ring gives back what is committed and settled, and nothing before that": (
        "telemetry/way_of_a_fact::the_ring_is_given_back_once_postgres_has_everything",
        "telemetry/ranges::one_gets_as_far_as_the_positions_are_without_a_gap",
        "telemetry/ring::what_was_not_released_is_not_overwritten",
    ),
    "what comes twice counts once, and is acknowledged twice": (
        "telemetry/collector::an_entry_that_comes_twice_counts_once_and_is_acknowledged_twice",
        "telemetry/collector::a_repeat_in_a_later_transaction_changes_no_sum",
        "telemetry/collector::several_collectors_share_the_work_and_never_double_it",
        "telemetry/collector::a_fact_of_a_dropped_day_cannot_count_again",
    ),
    "sums are those of the rows": (
        "telemetry/rollups_equal_rows::a_report_of_any_span_adds_up_what_was_sent",
        "telemetry/way_of_a_fact::rollups_add_up_to_the_rows_and_show_in_the_report",
    ),
    "one bad fact costs itself alone, and one of another team's key is flagged": (
        "telemetry/collector::one_bad_fact_does_not_cost_its_batch",
        "telemetry/way_of_a_fact::a_fact_that_cannot_be_encoded_costs_itself_and_not_its_settlement",
        "telemetry/collector::a_fact_whose_key_is_another_teams_is_flagged",
        "telemetry/newer_facts_wait::it_is_parked_acknowledged_told_to_doctor_and_revived",
    ),
    "a collector survives what it depends on": (
        "telemetry/collector::a_running_collector_survives_the_loss_of_its_connection_and_of_the_stream",
        "outputs/outputs_run::outputs_that_hang_or_refuse_hold_up_no_collector",
        "outputs/exporting::what_is_committed_reaches_every_sink_and_a_broken_one_stops_nobody",
    ),
    "facts may go by another Redis than limits": (
        "topologies/a_whole_mesh::presence_is_counted_and_facts_may_go_elsewhere",
        "outputs/looking::what_is_flushed_is_told_to_the_server_that_holds_the_budgets",
    ),
    "labels are few, and name no user and no key": (
        "outputs/exporting::metrics_carry_no_user_key_or_name_a_caller_made_up",
        "outputs/exporting::labels_overflow_into_other_instead_of_growing",
    ),
    "content is nowhere unless a team asked for it, and holds nobody up": (
        "outputs/content_samples::a_team_that_did_not_ask_for_it_has_content_nowhere",
        "outputs/content_samples::a_server_that_is_half_full_takes_no_more_samples_and_a_stream_does_not_grow",
        "outputs/content_samples::with_redis_away_what_waits_is_bounded_and_nobody_is_held_up",
    ),
    "usage a provider lies about is flagged and replaced by our estimate": (
        "http/providers_misbehave_and_callers_are_told::lying_usage_is_flagged_and_not_believed",
        "http/usage_is_believed_only_as_far_as_it_can_be::an_openai_lie_is_flagged_and_dropped",
        "hosts/litellm/usage_is_canonical::a_count_that_cannot_be_true_is_not_believed",
    ),
}
