"""The order in which files go to workers: those that take longest first, so that none is left for the end.

Left to itself, xdist begins with the files of the most tests, and ends with one of a single test that
takes half a minute while the other workers wait.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadFileScheduling

#: Seconds, as measured, of files that take long for how many tests they have.
SECONDS = {
    "tests/notebooks/test_notebooks_run.py": 45,
    "tests/hosts/litellm/test_the_proxy_is_governed.py": 40,
    "tests/faults/test_soak.py": 40,
    "tests/readme/test_the_readme_is_true.py": 25,
    "tests/cli/test_demo.py": 25,
    "tests/topologies/test_redis_seven.py": 15,
    "tests/hosts/litellm/test_ledger_of_endings.py": 15,
    "tests/cli/test_engines.py": 12,
    "tests/hosts/litellm/test_a_script_that_ends_at_once.py": 12,
    "tests/server/test_it_does_what_its_document_says.py": 12,
    "tests/hosts/litellm/test_streams_settle_however_they_end.py": 10,
    "tests/limits/test_processes_never_exceed_the_bound.py": 10,
    "tests/secrets/test_only_the_entitled_open_it.py": 10,
    "tests/e2e/test_gunicorn_forks_its_workers.py": 10,
    "tests/store/test_migrations.py": 8,
    "tests/telemetry/test_chaos.py": 8,
    "tests/hosts/litellm/test_children_of_an_installed_process.py": 7,
    "tests/embedded/test_races.py": 6,
    "tests/limits/test_processes_with_leases_keep_the_bound.py": 6,
    "tests/topologies/test_leases_outlive_a_primary.py": 6,
    "tests/topologies/test_a_primary_dies.py": 6,
    "tests/topologies/test_a_whole_mesh.py": 6,
    "tests/outputs/test_outputs_run.py": 6,
    "tests/packaging/test_the_wheel.py": 5,
    "tests/telemetry/test_outages.py": 5,
}
#: Of a test in any other file.
USUALLY_S = 0.06


def seconds(scope: str, tests: int) -> float:
    """Return what a file is likely to take."""
    return SECONDS.get(scope, 0) or tests * USUALLY_S


class LongestFirst(LoadFileScheduling):  # type: ignore[misc]
    """Gives a worker that asks for a file the one that takes longest."""

    def _assign_work_unit(self, node: Any) -> None:
        longest = max(self.workqueue, key=lambda scope: seconds(scope, len(self.workqueue[scope])))
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)
