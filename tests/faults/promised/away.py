"""What is promised of who may be away, and what then holds for callers, money and telemetry."""

from __future__ import annotations

from tests.faults.promised.kind import Promises

AWAY: Promises = {
    "Postgres away: callers and money unaffected, facts wait in Redis": (
        "telemetry/outages::whatever_is_away_everything_arrives",
        "telemetry/collector::while_postgres_is_away_entries_wait_in_the_stream",
        "sync/postgres::a_database_out_of_reach_is_polled_for",
        "server/refusals_are_problems::a_database_that_is_away_is_503_and_says_nothing_of_where_it_is",
    ),
    "Redis away: last good configuration, limits by their policy, budgets closed, facts wait in rings": (
        "e2e/one_governed_call::an_unreachable_redis_later_keeps_the_configuration_and_closes_limits",
        "limits/outages_are_answered_by_policy::a_budget_is_closed_even_where_a_share_was_asked_for",
        (
            "limits/outages_are_answered_by_policy::"
            "all_shares_together_admit_at_most_the_amount_in_the_first_period"
        ),
        (
            "limits/the_breaker_opens_and_closes::"
            "while_open_decisions_take_less_than_a_millisecond_and_ask_nobody"
        ),
        "e2e/leases_decide_without_redis::with_redis_away_a_lease_is_spent_to_its_end",
        "telemetry/delivery::callers_never_wait_while_redis_is_away_and_all_arrives_when_it_is_back",
        "telemetry/settling_never_waits::a_record_costs_the_same_while_the_server_is_away",
    ),
    "between the control plane and Postgres anything may go wrong": (
        "faults/the_network_before_postgres::callers_do_not_notice_and_everything_arrives_once",
        ("faults/the_network_before_postgres::connections_that_break_again_and_again_store_every_fact_once"),
        "faults/the_network_before_postgres::commands_end_in_our_words",
        "faults/the_network_before_postgres::leaving_a_connection_that_broke_is_told_by_us",
        (
            "faults/the_network_before_postgres::"
            "a_command_whose_server_is_gone_at_any_moment_ends_in_our_words"
        ),
    ),
    "the control plane away: nobody notices, and what was committed is published when it is back": (
        "sync/publisher::watching_outlives_a_redis_that_goes_away",
        "store/admin::a_change_that_could_not_be_published_is_kept_and_said",
    ),
    "a provider away: the next target, one reservation, one fact per attempt": (
        "e2e/one_governed_call::a_fallback_is_one_reservation_and_two_facts",
        "core/retries_are_one_layer::a_transient_status_falls_back_to_the_next_target_at_once",
        "core/retries_are_one_layer::a_budget_keeps_repeats_to_a_tenth_of_calls",
        "core/one_call_has_one_ending::a_timeout_keeps_the_estimated_input_because_it_may_be_billed",
    ),
    "between callers and a provider anything may go wrong": (
        "faults/the_network_before_providers::callers_are_told_and_every_attempt_is_a_fact",
        "faults/the_network_before_providers::connections_that_break_again_and_again",
        "faults/the_network_before_providers::bytes_that_were_altered_on_the_way",
        "faults/the_network_in_the_middle_of_streams::is_told_and_one_fact_with_what_had_come",
        "http/providers_misbehave_and_callers_are_told::silence_between_chunks_is_a_timeout",
    ),
    "the process killed: settled at the estimate, slots free after their lease, the ring survives": (
        "telemetry/processes::what_a_killed_process_took_arrives_once_after_a_drain",
        (
            "telemetry/processes::"
            "a_call_that_was_running_when_its_process_died_becomes_lost_and_is_settled_as_reserved"
        ),
        "limits/slots_outlive_nobody::a_killed_holders_slot_is_free_when_its_lease_ends",
        "e2e/leases_decide_without_redis::a_holder_killed_in_the_middle_costs_what_its_calls_cost",
    ),
    "engines killed together leave nothing and start again": (
        "embedded/lifetime::nothing_is_left_when_user_supervisor_and_postmaster_are_killed_together",
        "embedded/healing::both_servers_are_started_again_however_often_they_are_killed",
    ),
    "a target that fails is cooled, and comes back": (
        "e2e/a_failing_target_is_cooled::the_next_call_goes_to_the_other_target_at_once_and_the_first_comes_back",
        "core/retries_are_one_layer::retry_after_is_kept_to_and_ends_the_call_when_it_is_past_the_deadline",
        "core/one_call_has_one_ending::a_fallback_writes_a_fact_for_each_attempt_and_settles_once",
        "core/targets_without_room_are_passed_over::a_billed_failure_that_leaves_no_room_ends_the_fallback",
    ),
    "a stream that breaks is told, and nothing is tried again after its first word": (
        "core/one_stream_has_one_ending::falls_back_before_its_first_chunk_only",
        "http/providers_misbehave_and_callers_are_told::a_stream_without_finish_reason_is_incomplete",
        "http/providers_misbehave_and_callers_are_told::a_stream_that_drips_for_ever_ends_at_the_total_deadline",
    ),
    "without a collector facts wait, and whoever makes them and doctor say so": (
        "telemetry/a_missing_collector_is_said::a_process_without_a_collector_says_it_and_delivers_all_the_same",
        "telemetry/a_missing_collector_is_said::nothing_is_said_before_a_minute_and_once_after_it",
        (
            "telemetry/a_missing_collector_is_said::"
            "whoever_commits_is_heard_and_nobody_is_missed_while_nothing_waits"
        ),
        "server/doctor_finds_facts_that_do_not_arrive::a_missing_collector_is_worse_when_facts_wait",
        "server/doctor_finds_what_is_broken::engines_that_are_away_are_findings_and_the_rest_is_looked_at_still",
    ),
}

#: Everything at once.
TOGETHER: Promises = {
    "whatever dies while all of it runs, the books balance and nothing leaks": (
        "faults/soak::the_books_balance_whatever_died",
    ),
}
