"""What is promised of limits: all or none, exact, never above the bound."""

from __future__ import annotations

from tests.faults.promised.kind import Promises

LIMITS: Promises = {
    "all limits or none, never above the bound, whatever processes do": (
        "limits/reserve_takes_all_or_nothing::a_denial_charges_no_limit",
        "limits/processes_never_exceed_the_bound::eight_processes_stay_within_burst_and_rate",
        "limits/processes_with_leases_keep_the_bound::eight_processes_with_and_without_leases",
        "limits/leases_keep_the_bound::with_kills_stalls_and_replays_too",
    ),
    "a lost reply counts once": (
        "limits/a_lost_reply_counts_once::twenty_losses_in_forty_reserves_charge_forty",
        "limits/a_lost_reply_counts_once::a_silent_server_is_given_up_within_two_deadlines",
        "limits/reserve_takes_all_or_nothing::a_cancel_that_overtakes_its_reserve_refuses_it",
    ),
    "between callers and Redis anything may go wrong": (
        "faults/the_network_before_redis::every_call_is_answered_and_counted_once",
        "faults/the_network_before_redis::connections_that_break_again_and_again_cost_no_call_its_fact",
        "faults/the_network_before_redis::bytes_that_were_altered_on_the_way_are_an_error_of_ours",
        "limits/a_bad_reply_closes_its_connection::of_a_reserve",
    ),
    "who takes what comes too slowly delays himself alone": (
        "faults/slow_consumers::a_stream_read_slowly_is_whole_and_one_fact",
        "faults/slow_consumers::so_it_is_on_an_event_loop_while_others_are_answered",
        "faults/slow_consumers::a_reader_that_outlasts_the_deadline_is_told_and_one_fact",
        "faults/slow_consumers::a_call_read_for_longer_than_its_slots_lease_keeps_its_slot",
        "telemetry/delivery::a_running_calls_slot_is_renewed_before_its_lease_ends_and_no_longer_once_it_is_over",
        "http/connections_are_let_go_of::a_reader_slower_than_the_provider_misses_nothing",
        "telemetry/outages::while_postgres_is_away_a_backlog_stops_at_its_mark_and_calls_are_admitted_and_settled",
    ),
    "settling happens once and a refund never lifts above full": (
        "limits/settlement_happens_once::settling_twice_changes_nothing",
        "limits/settlement_happens_once::a_refund_never_lifts_above_full",
    ),
    "a clock that jumps opens at most one burst and denies for seconds": (
        (
            "faults/servers_whose_clocks_jump::"
            "a_rate_gives_one_burst_more_for_each_jump_and_denies_for_seconds"
        ),
        "faults/servers_whose_clocks_jump::every_call_is_one_fact_and_every_cent_counts_once",
        (
            "faults/servers_whose_clocks_jump::"
            "a_slot_held_across_a_jump_forward_may_be_given_again_and_no_more"
        ),
        (
            "faults/servers_whose_clocks_jump::"
            "a_day_jumped_into_has_a_budget_of_its_own_and_the_day_before_keeps_what_it_spent"
        ),
        "faults/servers_whose_clocks_jump::their_clocks_are_what_these_tests_set",
        "limits/the_clock_may_jump::a_day_forward_and_back_denies_for_seconds_not_for_a_day",
        "limits/the_clock_may_jump::a_jump_forward_gives_at_most_one_extra_burst",
        "limits/slots_outlive_nobody::a_clock_that_went_back_does_not_hold_slots_for_the_jump",
        "limits/budgets_count_every_pico::a_callers_wrong_clock_is_corrected_by_the_servers",
    ),
    "a caller's clock that jumps, or a machine that slept, admits, counts and tells nothing else": (
        "faults/clocks_that_jump::calls_are_admitted_counted_and_told_as_if_it_had_not",
        "faults/clocks_that_jump::a_target_that_cools_down_does_so_by_no_clock_on_the_wall",
        "faults/clocks_that_jump::a_machine_that_slept_spends_no_lease_it_held",
        "telemetry/delivery::a_clock_that_went_back_puts_off_no_second_sending",
        "telemetry/budgets::money_of_a_fact_that_is_buried_counts_once_by_its_reservation",
    ),
    "budgets know what they lost: a Redis that forgot refuses until the ledger seeded it": (
        "telemetry/budgets::a_redis_that_forgot_everything_refuses_until_the_ledger_seeded_it",
        "limits/budgets_count_every_pico::an_unseeded_window_refuses_and_asks_for_a_second",
        "limits/budgets_count_every_pico::a_settlement_counts_even_when_redis_lost_the_estimate",
    ),
    "cancelled anywhere, a call has one ending and nothing stays reserved": (
        "faults/cancelled_anywhere::at_every_await_one_after_the_other",
        "faults/cancelled_anywhere::in_a_storm_of_calls_at_any_of_their_awaits",
        "limits/concurrent_checks_share_a_call::a_storm_of_cancellations_leaves_no_charge_without_a_holder",
    ),
    "a mistake is never an outage and never opens a limit": (
        "limits/outages_are_answered_by_policy::a_mistake_never_opens_a_limit",
        "limits/failures_speak_our_words::what_somebody_must_correct_never_counts_as_an_outage",
    ),
    "scripts refuse what is hostile and leave no key without an end": (
        "limits/the_script_refuses_hostile_arguments::what_is_not_a_whole_number_is_refused",
        "limits/the_script_refuses_hostile_arguments::every_key_a_script_leaves_behind_expires",
    ),
    "a full server still settles": (
        "limits/failures_speak_our_words::a_full_server_refuses_to_reserve_but_still_settles",
        "topologies/servers_that_cannot_decide::a_full_server_still_settles_on_every_topology",
    ),
    "a failover overspends at most by what replication lost": (
        "topologies/a_primary_dies::no_call_counts_twice_and_the_overspend_is_what_replication_lost",
        "topologies/a_primary_dies::limits_on_the_other_primaries_go_on_as_if_nothing_had_happened",
    ),
    "limits are counted exactly, in every unit and at every rate": (
        "limits/gcra_conforms::every_vector_holds",
        "limits/the_script_obeys_the_fractions::a_few_thousand_random_steps_agree",
        "limits/slots_and_budgets_obey_their_model::a_thousand_random_steps_agree",
        "limits/limits_are_counted_exactly::no_stretch_of_time_admits_more_than_burst_and_rate",
        "limits/limits_are_counted_exactly::a_third_of_ten_milliseconds_is_a_third",
        "limits/long_products_are_exact::a_product_over_a_number",
    ),
    "a limit that is changed counts exactly from the next call on": (
        "limits/limits_are_counted_exactly::a_raised_limit_keeps_what_was_used_in_units",
        "limits/the_clock_may_jump::a_raised_limit_acts_on_the_next_call_and_a_lowered_one_too",
        "limits/refunds_in_figures::what_comes_back_at_a_changed_rate_is_rounded_down",
        "limits/settlement_happens_once::what_is_owed_at_a_changed_rate_is_rounded_up",
    ),
    "limits that span teams are one decision with those of the team": (
        "limits/two_tags_are_still_one_decision::a_denial_of_the_second_tag_gives_the_first_back",
        "limits/two_tags_are_still_one_decision::an_error_of_the_second_tag_gives_the_first_back",
        "limits/two_tags_are_still_one_decision::what_could_not_be_given_back_is_reported",
        "topologies/tags_on_two_primaries::closed_limits_refuse_and_the_first_tag_gets_its_charge_back",
        "telemetry/questions::a_drain_cancels_what_is_unanswered_and_nothing_else",
    ),
    "who waits is served in order, and what he leaves goes to the next": (
        "limits/reserve_takes_all_or_nothing::a_booked_wait_is_served_first_come_first_served",
        "limits/reserve_takes_all_or_nothing::a_cancelled_booking_is_given_to_the_next",
    ),
    "scripts that a server forgot are sent again, and nothing else is without an id": (
        "limits/a_lost_reply_counts_once::scripts_a_server_forgot_are_sent_again",
        "limits/a_lost_reply_counts_once::below_the_limiter_nothing_is_asked_again",
        "limits/reserve_takes_all_or_nothing::the_same_id_replays_the_recorded_answer",
        "limits/reserve_takes_all_or_nothing::an_id_used_for_other_charges_is_refused",
    ),
    "what nobody knows any more settles to nothing": (
        "limits/settlement_happens_once::a_reservation_nobody_knows_settles_to_nothing",
        "limits/outages_are_answered_by_policy::what_policy_admitted_settles_to_nothing_but_a_lost_grant_is_trued_up",
    ),
    "hard limits never overshoot: they reserve an upper bound, or refuse and name what is missing": (
        "core/planning_decides_before_anything_is_sent::reserve_the_cap_not_the_estimate",
        "core/planning_decides_before_anything_is_sent::count_every_choice",
        "core/planning_decides_before_anything_is_sent::refuse_a_call_without_a_cap_and_name_the_field",
        "core/planning_decides_before_anything_is_sent::send_the_aliass_cap_where_the_caller_gives_none",
        "limits/limits_are_counted_exactly::a_hard_limit_sustains_what_its_burst_leaves",
        "limits/settlement_happens_once::a_hard_limit_refunds_only_what_has_not_drained",
    ),
    "what is reserved follows what an alias' calls took": (
        "core/estimates_follow_what_calls_took::before_anything_was_learned_it_is_1024_tokens_or_the_callers_cap",
        "core/estimates_follow_what_calls_took::then_it_is_the_95th_percentile_of_what_the_alias_answered",
        "core/estimates_follow_what_calls_took::one_long_answer_in_a_hundred_does_not_move_it",
        "core/estimates_follow_what_calls_took::input_follows_the_tokens_that_a_byte_makes",
        "core/estimates_follow_what_calls_took::each_alias_learns_for_itself",
        "core/estimates_follow_what_calls_took::what_nobody_counted_and_what_failed_teach_nothing",
        "core/estimates_follow_what_calls_took::what_was_learned_is_what_is_charged",
    ),
    "what a call took above its estimate is owed": (
        "limits/settlement_happens_once::more_than_the_estimate_goes_into_debt",
        "limits/the_clock_may_jump::a_debt_above_the_burst_survives_a_jump",
    ),
    "an ordinary call always fits, and one that never will says so": (
        "store/limit_text::the_rule_of_thumb_lets_an_ordinary_call_through_and_never_more_than_the_amount",
        "store/compile::a_token_burst_has_room_for_the_largest_call_the_subject_can_make",
        "core/planning_decides_before_anything_is_sent::a_call_that_can_never_fit_says_which_burst_it_would_need",
        "limits/reserve_takes_all_or_nothing::a_charge_larger_than_the_burst_can_never_fit",
    ),
    "slots are held while a call runs and by nobody else": (
        "limits/slots_outlive_nobody::a_renewed_lease_keeps_its_slot",
        "limits/slots_outlive_nobody::a_lease_that_ended_cannot_be_renewed",
        "limits/slots_outlive_nobody::a_settled_call_frees_its_slot_at_once",
        "limits/slots_outlive_nobody::cancelling_an_unheard_grant_frees_its_slot",
    ),
    "callers who share a question share nothing else": (
        "limits/concurrent_checks_share_a_call::a_refused_caller_costs_the_others_of_its_call_nothing",
        "limits/concurrent_checks_share_a_call::cancelling_the_first_of_a_burst_touches_nobody_else",
        "limits/concurrent_checks_share_a_call::an_interrupted_thread_leaves_its_place_to_the_next",
        "limits/concurrent_checks_share_a_call::a_thread_whose_caller_vanished_asks_for_itself",
    ),
    "limits in shadow refuse nobody, whatever is away": (
        "limits/shadow_limits_never_refuse::what_does_not_fit_is_left_out_and_said",
        "limits/outages_are_answered_by_policy::shadow_limits_never_refuse",
    ),
}
