"""What is promised for when something fails, and the tests that break it on purpose.

By the part of the product: live configuration, limits, telemetry, and who may be away. Each promise names
its tests as ``folder/file::test``, without ``test_`` and ``.py``; `test_promises_are_kept` looks them up.
Add a promise with its test; a test here without a promise is a promise nobody wrote down.
"""

from __future__ import annotations

#: Promise, then its tests.
Promises = dict[str, tuple[str, ...]]

CONFIGURATION: Promises = {
    "a publisher killed anywhere is finished by the next; publishing twice writes once": (
        "sync/publisher::a_publisher_killed_anywhere_is_finished_by_the_next_one",
        "sync/publisher::publishing_twice_writes_once",
        "sync/publisher::a_fill_that_is_killed_half_way_proves_no_key_missing",
        "sync/postgres::a_publisher_that_died_after_its_commit_is_finished_by_whoever_publishes_next",
    ),
    "racing publishers end at the newest": (
        "sync/publisher::publishers_racing_end_at_the_newest_and_break_no_delta",
        "sync/publisher::a_slow_publisher_never_brings_a_revoked_key_back",
    ),
    "configuration never goes backwards, and a restored database wins by its epoch": (
        "sync/never_backwards::an_older_snapshot_in_redis_is_refused",
        "sync/never_backwards::a_client_a_day_offline_does_not_go_backwards_on_return",
        "sync/never_backwards::a_restored_database_begins_a_new_epoch_that_wins_with_lower_revisions",
        (
            "server/doctor_finds_what_is_broken::"
            "redis_ahead_of_postgres_names_the_command_for_a_restored_database"
        ),
    ),
    "a lost message costs one poll, a deaf or half-open subscription is made anew": (
        "sync/following::lost_messages_cost_one_poll",
        "sync/following::a_connection_that_stays_deaf_is_made_anew",
        "sync/following::every_client_is_at_the_last_revision_though_connections_are_killed",
        "sync/following::a_client_behind_the_stream_loads_the_document",
        "faults/slow_consumers::a_subscriber_the_server_cuts_off_for_its_slowness_is_back_at_the_newest",
    ),
    "whatever bytes come, they are read or refused in our own words": (
        "faults/bytes_are_read_or_refused::published_configuration",
        "faults/bytes_are_read_or_refused::a_providers_stream",
        "faults/bytes_are_read_or_refused::a_providers_reply",
        "faults/bytes_are_read_or_refused::a_manifest",
        "faults/bytes_are_read_or_refused::a_manifest_with_anything_in_the_place_of_something",
        "faults/bytes_are_read_or_refused::any_text_as_a_key",
        "faults/providers_may_say_anything::as_a_reply",
        "faults/providers_may_say_anything::as_a_stream",
        "faults/providers_may_say_anything::as_an_error",
        "faults/providers_may_say_anything::as_a_lie_about_usage_that_costs_no_more_than_was_reserved",
        "store/limit_text::any_text_is_a_limit_that_can_be_kept_or_refused",
        "faults/bytes_are_read_or_refused::a_key_with_any_other_character_is_none",
    ),
    "what is damaged or forged is refused, and the last good stays": (
        "sync/never_backwards::a_damaged_snapshot_is_refused_and_the_last_good_one_stays",
        "sync/trust::what_another_publishes_is_refused_and_the_last_good_stays",
        "sync/trust::every_byte_of_an_envelope_counts",
        "sync/disk::a_damaged_copy_is_not_used",
    ),
    "a missing key is only believed when Redis is complete, and a revoked one stays revoked": (
        "sync/keys::a_miss_without_the_marker_proves_nothing_and_is_not_cached",
        "sync/keys::a_client_behind_the_list_of_changes_asks_for_its_keys_again",
        "sync/keys::a_revocation_takes_effect_in_time",
        "sync/never_backwards::a_key_seen_revoked_stays_revoked_when_redis_is_replaced_by_an_older_state",
        (
            "faults/keys_are_looked_up_under_faults::"
            "that_a_key_is_not_there_is_asked_again_because_nobody_signs_it"
        ),
    ),
    "nobody waits for a silent server again and again before a key is known": (
        (
            "faults/keys_are_looked_up_under_faults::"
            "a_silent_server_is_asked_twice_and_then_left_alone_for_a_while"
        ),
        "faults/keys_are_looked_up_under_faults::so_it_is_on_an_event_loop",
    ),
    "without Redis the last good configuration holds for max_stale; with nothing it says what was tried": (
        "sync/disk::a_process_boots_from_disk_when_redis_is_away_and_says_so",
        "sync/disk::what_is_older_than_max_stale_is_not_used",
        "sync/following::no_configuration_anywhere_names_what_was_tried",
        "e2e/one_governed_call::an_unreachable_redis_at_the_start",
    ),
    "a lowered limit ends leases at once": (
        "e2e/leases_decide_without_redis::a_lowered_limit_ends_the_lease_at_once",
        (
            "e2e/a_keys_own_limit_is_live_within_a_second::"
            "a_limit_that_is_made_changed_and_taken_away_is_live_within_a_second"
        ),
    ),
}

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
}

TELEMETRY: Promises = {
    "once settle returned, the fact reaches Postgres exactly once": (
        "telemetry/chaos::random_kills_of_producers_collectors_and_valkey_lose_and_double_nothing",
        "telemetry/delivery::facts_of_a_server_that_was_killed_without_persistence_are_sent_again",
        "telemetry/collector::a_collector_killed_before_its_commit_loses_nothing",
        "telemetry/collector::a_collector_that_dies_between_commit_and_acknowledgement_doubles_nothing",
    ),
    "between callers, the telemetry stream and collectors anything may go wrong": (
        "faults/the_network_before_the_telemetry_stream::calls_are_answered_and_every_fact_arrives_once",
        (
            "faults/the_network_before_the_telemetry_stream::"
            "connections_that_break_again_and_again_lose_and_double_no_fact"
        ),
    ),
    "a full ring drops the fact, counts it, and keeps the settlement": (
        "telemetry/writer::a_full_ring_drops_the_fact_and_keeps_the_settlement",
        "telemetry/ring::what_was_not_released_is_not_overwritten",
        "telemetry/delivery::a_full_ring_counts_what_it_drops_and_still_settles_it",
    ),
    "a damaged ring costs what was damaged and invents nothing": (
        "telemetry/ring::a_flipped_bit_costs_at_most_one_record_and_invents_none",
        "telemetry/ring::a_flipped_bit_in_the_header_loses_no_record",
        "telemetry/ring::any_damage_to_a_file_costs_what_it_hit_and_invents_nothing",
        "telemetry/ring::a_shortened_file_still_gives_what_it_holds",
    ),
    "without a volume everything works and health says what is weaker": (
        "telemetry/files::a_full_disk_gives_a_ring_in_memory_and_leaves_no_file",
        "telemetry/a_full_disk::a_process_that_starts_on_a_full_disk_says_so_and_its_records_are_shipped",
        "telemetry/a_full_disk::a_ring_made_in_time_takes_records_on_a_full_disk_and_is_drained_there",
        "telemetry/a_full_disk::calls_go_on_when_the_disk_fills_and_when_it_was_full_from_the_start",
        "telemetry/files::a_read_only_file_system_gives_a_ring_in_memory",
        "telemetry/delivery::without_a_home_everything_works_and_health_says_what_is_weaker",
        "sync/disk::a_folder_that_cannot_be_written_stops_nothing",
    ),
    "a signal or an interruption in the middle of a write harms nothing": (
        "telemetry/writer::a_signal_handler_may_write_while_it_interrupts_a_write",
        "telemetry/writer::an_interruption_that_raises_leaves_the_writer_usable",
    ),
    "a forked child has everything anew": (
        "telemetry/processes::a_forked_child_gets_its_own_ring_and_both_sides_arrive",
        "e2e/gunicorn_forks_its_workers::every_worker_of_a_preloaded_application_calls_and_each_call_is_one_fact",
        "e2e/gunicorn_forks_its_workers::workers_end_while_redis_is_away_and_what_they_settled_arrives_afterwards",
        "limits/connections_are_kept::a_forked_child_opens_a_connection_of_its_own",
        "limits/a_lease_is_spent_in_memory::a_desk_forgets_without_io_after_a_fork",
        "sync/processes::a_child_forked_while_the_cache_is_locked_does_not_hang",
        "http/transports_keep_to_themselves::a_child_forked_calls_without_hanging_or_repeating",
        "core/a_forked_child_waits_for_no_thread_of_its_parent::locks_that_are_held_at_a_fork_are_free_in_the_child",
        (
            "core/a_forked_child_waits_for_no_thread_of_its_parent::"
            "a_module_that_is_being_imported_at_a_fork_is_whole_or_left_alone"
        ),
        "limits/a_fork_leaves_the_leases_with_the_parent::no_unit_is_spent_twice_and_none_is_lost",
        "faults/forks_under_load::no_child_hangs_and_each_call_is_one_fact",
    ),
    "a backlog never closes budgets": (
        "telemetry/outages::while_postgres_is_away_a_backlog_stops_at_its_mark_and_calls_are_admitted_and_settled",
        "telemetry/delivery::facts_wait_in_the_ring_while_memory_is_short_and_settlements_go_on",
    ),
    "poison, the future and a dropped past are kept aside, never counted": (
        "telemetry/collector::a_body_nobody_can_read_is_kept_aside_and_acknowledged",
        "telemetry/collector::facts_out_of_time_are_dead_and_never_in_the_rollups",
    ),
    "facts on several streams of a cluster are calls, though a primary dies in between": (
        "topologies/facts_on_several_streams::each_fact_arrives_once_and_every_stream_carries_some",
        "topologies/facts_on_several_streams::facts_are_calls_though_a_primary_dies_in_between",
        "topologies/facts_on_several_streams::a_collector_finds_streams_that_are_added_while_it_runs",
    ),
    "a script that ends at once ships everything": (
        "telemetry/processes::a_script_that_ends_at_once_ships_everything_on_its_way_out",
        (
            "hosts/litellm/a_script_that_ends_at_once::"
            "fifty_concurrent_calls_leave_fifty_facts_and_a_limit_stops_others_before_the_provider"
        ),
    ),
}

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
}

TOGETHER: Promises = {
    "whatever dies while all of it runs, the books balance and nothing leaks": (
        "faults/soak::the_books_balance_whatever_died",
    ),
}

PROMISES: Promises = CONFIGURATION | LIMITS | TELEMETRY | AWAY | TOGETHER
