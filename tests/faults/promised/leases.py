"""What is promised of slices of limits that processes hold, and of shares while Redis is away."""

from __future__ import annotations

from tests.faults.promised.kind import Promises

LEASES: Promises = {
    "no stretch of time admits more than the bound, whoever holds a slice": (
        "limits/leases_keep_the_bound::any_stretch_of_time_keeps_the_bound",
        "limits/what_a_lease_leaves_in_redis::a_slice_stands_on_a_debt_of_exactly_its_ttl",
        "limits/a_lease_is_spent_in_memory::a_lease_is_not_spent_beyond_its_ttl",
        "limits/a_lease_is_spent_in_memory::what_drained_before_it_was_spent_is_not_there_twice",
        "limits/a_lease_is_spent_in_memory::a_limit_without_room_to_spare_is_not_leased",
    ),
    "a slice is of all limits of a call, and of those limits only": (
        "limits/leases_are_found_by_all_their_keys::one_more_limit_in_between_is_another_tuple",
        "limits/leases_are_found_by_all_their_keys::a_changed_limit_draws_nothing_and_an_equal_one_does",
        "limits/leases_are_found_by_all_their_keys::what_does_not_cover_all_is_not_drawn_in_part",
        "limits/a_lease_is_spent_in_memory::another_limit_under_the_same_key_is_not_drawn_from",
    ),
    "what is not spent comes back in time or not at all, and once": (
        "limits/what_a_lease_leaves_in_redis::unspent_units_come_back_as_far_as_nobody_else_was_admitted_on_their_draining",
        "limits/what_a_lease_leaves_in_redis::nothing_unspent_comes_back_at_another_rate_than_it_was_leased_at",
        "limits/a_lease_is_spent_in_memory::ending_twice_gives_back_once",
        "limits/a_lease_is_spent_in_memory::what_a_process_hoards_comes_back_before_it_is_refused",
    ),
    "money of a killed holder is exact": (
        "limits/a_lease_is_spent_in_memory::a_killed_holder_leaves_its_money_exact",
        "limits/a_lease_is_spent_in_memory::until_the_ring_is_drained_its_money_is_not_spent_again",
        "limits/a_lease_is_spent_in_memory::a_lease_is_not_spent_beyond_the_window_of_its_budget",
    ),
    "a primary that dies costs no more than what its replica never heard of": (
        "topologies/leases_outlive_a_primary::nothing_is_overspent_when_the_replica_knew_of_the_slices",
        "topologies/leases_outlive_a_primary::a_slice_the_successor_never_heard_of_is_overspent_once_and_returns_nothing",
    ),
    "a share starts empty, is counted by who lives, and is closed where nobody counted": (
        "limits/outages_are_answered_by_policy::starts_empty_and_fills_at_its_part_of_the_rate",
        "limits/outages_are_answered_by_policy::a_share_of_an_unknown_number_is_closed",
        "limits/outages_are_answered_by_policy::who_does_not_beat_is_forgotten",
        "limits/outages_are_answered_by_policy::an_outage_leaves_the_count_as_it_was",
        "limits/outages_are_answered_by_policy::a_forked_child_is_somebody_nobody_has_seen",
        "limits/outages_are_answered_by_policy::is_empty_again_after_redis_was_back",
    ),
    "each policy says what it did, and Redis decides again once it answers": (
        "limits/outages_are_answered_by_policy::closed_refuses_and_says_when_to_come_back",
        "limits/outages_are_answered_by_policy::open_admits_and_says_that_nothing_was_checked",
        "limits/outages_are_answered_by_policy::redis_decides_again_as_soon_as_it_answers",
        "core/outages_leave_their_mark::a_call_admitted_by_policy_is_flagged_and_ends_once",
        "limits/the_breaker_opens_and_closes::the_fifth_opens_it_and_is_told_once",
        "limits/the_breaker_opens_and_closes::one_probe_goes_at_a_time",
    ),
}
