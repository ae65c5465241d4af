"""What is promised of refusals, streams that are cut, and who is told what."""

from __future__ import annotations

from tests.faults.promised.kind import Promises

CALLERS: Promises = {
    "a stream whose hard limit runs out is cut where that was asked for, and settled at what was used": (
        "core/a_stream_that_outgrows_its_limit_is_cut::it_is_cut_and_settled_at_what_was_used",
        "core/a_stream_that_outgrows_its_limit_is_cut::no_other_limit_cuts",
        "core/a_stream_that_outgrows_its_limit_is_cut::money_is_counted_in_tokens",
    ),
    "a refusal is remembered while it surely holds, and no longer": (
        "core/refusals_are_remembered_while_they_hold::the_same_call_is_refused_again_without_asking",
        "core/refusals_are_remembered_while_they_hold::never_longer_than_its_own_wait",
        "core/refusals_are_remembered_while_they_hold::a_changed_configuration_is_asked_about",
        "core/refusals_are_remembered_while_they_hold::a_smaller_call_is_asked_about",
    ),
    "errors say what, whose and until when, and are the host's own, too": (
        "core/planning_decides_before_anything_is_sent::a_refusal_names_the_limit_whose_it_is_what_is_left_and_when_to_come_back",
        "hosts/litellm/errors_are_ours_and_litellms::every_error_of_ours_has_a_twin",
        "hosts/litellm/errors_are_ours_and_litellms::every_refusal_is_caught_by_litellms_name_too",
        "hosts/litellm/router_and_retries_stay_outside::a_refusal_costs_no_retry_no_cooldown_and_no_fallback",
    ),
    "no exception of Redis', Postgres' or an HTTP library's reaches a caller": (
        "http/answers_belong_to_their_requests::what_is_no_answer_is_an_error_and_no_librarys_own",
        "limits/failures_speak_our_words::what_passes_by_itself_is_an_outage",
        "store/bad_input::every_refusal_is_one_of_ours",
        "server/refusals_are_problems::a_bug_of_ours_is_500_with_a_number_and_no_trace",
    ),
    "however a call ends, at whatever door, it is one fact and nothing stays reserved": (
        "http/ledger_of_direct_endings::one_fact_nothing_reserved_nothing_hanging",
        "hosts/litellm/ledger_of_endings::one_fact_nothing_reserved_nothing_hanging",
        "hosts/langchain/ledger_of_endings::ending_leaves_one_fact_and_nothing_reserved",
        "hosts/langchain/cancelled_anywhere::at_every_await_one_after_the_other",
    ),
    "Ctrl-C between any two steps ends a call once, and nothing is kept that nobody uses": (
        "faults/signals_at_every_moment::each_call_has_one_ending_and_the_books_agree",
        "core/interrupted_between_two_steps::before_its_intent_is_written_the_charges_are_given_back",
        "core/interrupted_between_two_steps::once_its_intent_is_written_it_is_ended",
        "core/interrupted_between_two_steps::between_its_start_and_whoever_is_to_end_it",
        "core/interrupted_between_two_steps::while_its_end_is_written",
        (
            "limits/signals_within_a_decision::"
            "whenever_it_rings_every_unit_has_an_owner_and_every_answer_its_asker"
        ),
        (
            "topologies/signals_within_a_decision::"
            "whenever_it_rings_every_unit_has_an_owner_and_every_answer_its_asker"
        ),
    ),
}
