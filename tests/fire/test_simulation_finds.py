"""A simulation of a backend with a rule taken out fails within a few seeds, and says how to see it again."""

from __future__ import annotations

import pytest

from interlock import Component
from interlock.testing import FAULTS, Faults, SimulationFailed, Workload, simulate

from . import broken_engines as broken
from .broken_engines import Break
from .functions_app import fire
from .simulated_apps import bank, errands, feed
from .simulated_workloads import Errands, Lists, Messages, Transfers

CALM, REORDERED, SLOW_DISK, FULL_DISK, LOST_SYNCS, KILLS, POWER_LOSSES, BAD_NETWORK, _ = FAULTS
SEEDS = 40
CUT_AND_FULL = Faults("cut and full", cut=0.08, refused=0.25, disk_ms=20.0, network_ms=50.0, reorder=0.1)

PLANTED: list[tuple[Break, Component, type[Workload], Faults]] = [
    (broken.validation_is_switched_off, bank, Transfers, SLOW_DISK),
    (broken.validation_is_switched_off, fire, Lists, SLOW_DISK),
    (broken.a_sub_transactions_reads_go_with_its_layer, fire, Lists, SLOW_DISK),
    (broken.a_list_of_changes_is_forgotten_at_the_end, fire, Lists, CALM),
    (broken.an_answer_stands_though_what_it_read_was_taken_back, fire, Lists, FULL_DISK),
    (broken.what_is_not_on_disk_yet_is_missed, bank, Transfers, SLOW_DISK),
    (broken.what_is_on_disk_already_is_seen_too_early, feed, Messages, SLOW_DISK),
    (broken.subscribers_look_at_what_is_not_on_disk, feed, Messages, POWER_LOSSES),
    (broken.live_queries_never_end, feed, Messages, CALM),
    (broken.a_result_is_kept_whatever_was_committed_while_it_was_found, feed, Messages, SLOW_DISK),
    (broken.a_woken_client_is_forgotten_while_it_is_told_something, feed, Messages, SLOW_DISK),
    (broken.requests_are_not_remembered, feed, Messages, BAD_NETWORK),
    (broken.attempts_of_one_request_do_not_know_of_each_other, feed, Messages, CUT_AND_FULL),
    (broken.a_mutation_of_unknown_outcome_is_said_to_have_failed, feed, Messages, LOST_SYNCS),
    (broken.a_job_is_marked_behind_its_transaction, errands, Errands, KILLS),
    (broken.an_action_begins_before_that_is_on_disk, errands, Errands, KILLS),
    (broken.a_client_is_told_of_what_is_not_on_disk, bank, Transfers, POWER_LOSSES),
    (broken.a_disk_says_that_it_has_synced, bank, Transfers, POWER_LOSSES),
    (broken.a_power_loss_leaves_half_of_a_commit, bank, Transfers, POWER_LOSSES),
]


@pytest.mark.parametrize(
    ("break_it", "app", "workload", "faults"), PLANTED, ids=[f"{one.__name__}-{workload.__name__}" for one, _, workload, _ in PLANTED]
)
def test_a_simulation_finds_that(break_it: Break, app: Component, workload: type[Workload], faults: Faults) -> None:
    with pytest.MonkeyPatch.context() as patch:
        break_it(patch)
        with pytest.raises(SimulationFailed) as failed:
            simulate(app, workload, faults=faults, seeds=range(SEEDS))
        seed = failed.value.history.seed
        with pytest.raises(SimulationFailed) as again:
            simulate(app, workload, faults=faults, seeds=[seed])
    assert again.value.history == failed.value.history, "a seed that fails fails again in the same way"
    simulate(app, workload, faults=faults, seeds=[seed])
