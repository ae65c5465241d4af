"""What is promised of telemetry: every call is one fact, and every cent counts once."""

from __future__ import annotations

from tests.faults.promised.kind import Promises

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
    "whoever writes never waits for another, and nothing is torn": (
        "telemetry/writer::eight_threads_write_without_losing_or_tearing_a_record",
        "telemetry/writer::a_write_within_a_write_waits_for_nobody_and_is_there_when_the_outer_one_returns",
        "telemetry/writer::facts_leave_room_for_the_settlements_that_follow_them",
        "telemetry/ring::a_write_that_was_torn_is_not_a_record",
    ),
    "a ring is its owner's alone, and found by the next process when its owner died": (
        "telemetry/files::a_ring_file_is_private_and_its_blocks_are_reserved",
        "telemetry/files::a_ring_in_use_is_nobody_elses",
        "telemetry/processes::the_next_process_takes_over_what_the_last_one_left",
        "telemetry/processes::the_lock_of_a_ring_ends_with_the_process_that_made_it_even_while_its_child_lives",
    ),
    "a call that runs is found in the ring at every moment, and once it ended never": (
        "telemetry/intents::at_every_moment_the_calls_a_drain_would_find_are_those_that_run",
        "telemetry/intents::a_call_that_ended_just_before_its_intent_was_moved_is_never_found_open",
        "telemetry/questions::a_drain_finds_at_every_moment_what_is_unanswered_and_what_runs",
    ),
    "ids are never given twice, nor by a forked child": (
        "core/ids_are_never_given_twice::a_forked_childs_ids_are_not_its_parents",
        "core/ids_are_never_given_twice::a_forked_child_is_given_new_random_bits_whatever_the_library_does_about_forks",
    ),
    "who asks to flush is told whether everything is away, and a script ends in time": (
        "telemetry/processes::a_script_ends_within_a_second_while_redis_is_away_and_loses_nothing",
        "telemetry/processes::a_record_that_comes_after_close_waits_for_the_next_process",
        "faults/the_network_before_redis::who_closes_waits_no_longer_than_was_said",
        "faults/a_process_ends_soon::no_wait_of_a_close_outlasts_its_one_deadline",
        "outputs/content_samples::who_waits_for_samples_has_waited_for_the_last_one_too",
    ),
}
