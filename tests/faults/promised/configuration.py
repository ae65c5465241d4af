"""What is promised of live configuration: what was committed reaches every caller, and nothing else does."""

from __future__ import annotations

from tests.faults.promised.kind import Promises

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
        "sync/damage_is_refused::a_damaged_snapshot_is_refused_and_the_last_good_one_stays",
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
    "a snapshot is one moment, and revisions are in the order of commits without a gap": (
        "store/compile::a_snapshot_never_shows_half_a_change",
        "store/database::a_snapshot_is_read_in_one_view_that_cannot_write",
        "store/revisions::revisions_have_no_gaps_with_many_writers_some_of_whom_fail",
        "store/revisions::whoever_sees_a_revision_sees_every_change_up_to_it",
        "store/revisions::commits_are_told_to_whoever_listens",
        "sync/publisher::a_delta_made_from_what_was_replaced_meanwhile_is_made_anew",
        "sync/publisher::an_older_document_without_a_base_is_stale_not_written",
        "sync/publisher::redis_ahead_of_the_database_is_said_and_left_alone",
    ),
    "a delta leads to exactly the document it is for, or the document itself is loaded": (
        "sync/delta::a_delta_leads_to_exactly_the_other_document",
        "sync/delta::a_delta_of_another_base_is_refused",
        "sync/damage_is_refused::a_damaged_delta_makes_the_client_load_the_document",
        "sync/never_backwards::two_clients_that_read_the_same_redis_hold_equal_documents",
    ),
    "who listens for changes stops nobody, whatever it does": (
        "sync/following::a_failing_listener_stops_nothing",
        "sync/following::a_listener_is_told_of_each_change_with_both_snapshots",
    ),
    "a million keys cost an idle client nothing, and what a client remembers of them is bounded": (
        "sync/keys::a_bulk_import_is_told_as_all_and_the_list_stays_small",
        "sync/keys::hits_and_misses_cost_one_question_each",
        "sync/keys::both_caches_are_bounded",
    ),
    "what a client keeps on disk is its owner's alone, and whole": (
        "sync/disk::only_its_owner_may_read_it",
        "sync/disk::writing_is_whole_or_not_at_all",
        "sync/disk::processes_sharing_a_folder_keep_the_newer_snapshot_and_both_ones_keys",
        "sync/disk::what_becomes_too_old_while_a_process_runs_is_no_longer_used",
    ),
    "a revocation takes effect within a second, two without a subscription": (
        "e2e/one_governed_call::a_revoked_key_within_a_second",
        "sync/following::without_permission_for_the_channel_changes_arrive_by_the_poll",
        "e2e/leases_decide_without_redis::a_lease_is_no_way_past_a_revocation",
        "e2e/one_governed_call::a_stream_that_runs_is_read_to_its_end_though_its_key_is_revoked",
    ),
    "what is changed is published by whoever changed it, or by the server": (
        "store/admin::a_change_is_published_when_its_call_returns",
        "server/one_process_serves_publishes_and_collects::what_is_changed_over_http_reaches_redis_at_once",
        "server/one_process_serves_publishes_and_collects::a_running_request_is_finished_and_what_it_committed_published",
        "embedded/companions::a_companion_that_dies_is_started_again",
    ),
}
