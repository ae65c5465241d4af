"""What is promised of budgets, prices, and what a caller is told of them."""

from __future__ import annotations

from tests.faults.promised.kind import Promises

MONEY: Promises = {
    "budgets count every cent, by windows of a calendar": (
        "limits/budgets_count_every_pico::estimates_are_admitted_up_to_the_last_pico",
        "limits/budgets_count_every_pico::a_late_settlement_belongs_to_the_day_of_its_reservation",
        "limits/budgets_count_every_pico::a_late_cancel_finds_the_estimate_of_the_day_before",
        "limits/windows_follow_each_other::windows_tile_time",
        "limits/windows_follow_each_other::a_day_that_loses_an_hour_is_23_hours_long",
        "telemetry/budgets::a_call_belongs_to_the_window_of_its_reservation",
    ),
    "the ledger and Redis agree, whoever dies between them": (
        "telemetry/budgets::what_a_call_took_goes_from_open_to_the_ledger",
        "telemetry/budgets::a_collector_that_dies_before_it_told_redis_leaves_no_money_free_and_none_counted_twice",
        "limits/budgets_count_every_pico::an_older_version_does_not_lower_what_was_spent",
        "limits/budgets_count_every_pico::a_duplicate_settlement_after_the_commit_is_taken_out_again",
        "telemetry/budgets::a_repeated_entry_changes_no_sum_and_still_closes_what_was_open",
    ),
    "money whose fact was lost counts once all the same": (
        ("faults/a_ring_without_room::what_a_ring_loses_is_counted_in_money_and_the_books_agree_on_the_rest"),
        "telemetry/budgets::a_call_lost_with_its_process_counts_what_was_reserved",
        "telemetry/budgets::money_whose_fact_was_dropped_counts_once_all_the_same",
        "telemetry/budgets::damaged_money_is_kept_aside_and_its_facts_are_stored",
    ),
    "a window that was never counted is no empty one": (
        "limits/budgets_count_every_pico::a_window_that_began_before_tracking_waits_for_the_ledger",
        "limits/budgets_count_every_pico::tracking_never_moves_once_it_began",
        "sync/new_budgets_admit_at_once::a_budget_that_redis_lost_is_not_taken_for_a_new_one",
        "sync/new_budgets_admit_at_once::what_was_spent_before_the_first_collector_ran_stays_spent",
        "core/a_budget_nobody_counted_says_so::one_that_was_never_counted",
    ),
    "a question about money is written down before it is asked": (
        "core/questions_about_budgets_are_written_down::before_the_limiter_hears_it",
        "core/questions_about_budgets_are_written_down::an_answer_nobody_heard_ends_it",
        "e2e/a_call_killed_before_its_intent_leaves_nothing::its_estimate_is_given_back_and_no_call_is_told_lost",
    ),
    "costs are those of the list at the time of the attempt, and an unknown price is none": (
        "prices/costs_agree_with_the_list::any_model_any_usage_any_time",
        "prices/costs_agree_with_the_list::a_model_without_a_price_has_none_and_is_not_free",
        "core/prices_are_those_of_the_attempts_start::a_price_that_changes_during_a_call_does_not_change_what_it_costs",
        "e2e/one_governed_call::cost_is_exact_and_unknown_models_are_unpriced_not_free",
    ),
}
