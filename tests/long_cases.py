"""Which cases are too long for `make test`: `python tests/long_cases.py` measures all, in CPU time.

A case is long that takes more than `EACH` seconds. The cheapest case of a test stays, unless it too
takes more than `FIRST`: that test is one of the long proofs, which `make test-slow` runs, as it
runs everything. What is marked `slow` by hand is so on any machine, and is not measured.

All is measured, and what is left once more: a case may have been cheap for no other reason than
that another one, which is now on the list, had compiled its program.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pytest

EACH, FIRST = 0.2, 1.75
# What `make test` is never without: a run of each paper, that a saved model is what was fitted,
# that a trained flow is a density, that a critic's distance and its penalty are right, that
# estimators have the exact mean, that a test of fit keeps its level, and what latent ODEs and
# implicit steps are known to give.
ALL_OF = (
    "tests/recipes/test_every_recipe.py",
    "tests/analysis/signals/test_signal_report.py::test_what_is_measured_is_what_is_there",
    "tests/analysis/test_stein_tests.py::test_a_few_learned_tests",
    "tests/models/timeseries/test_latent_ode_model.py::test_at_the_exact_posterior_the_bounds_are_the_evidence[decays-first]",
    "tests/models/timeseries/test_latent_ode_model.py::test_with_a_wrong_posterior_the_bound_is_below_and_many_samples_close_it",
    "tests/models/timeseries/test_latent_ode_model.py::test_the_kl_is_its_monte_carlo_mean",
    "tests/models/timeseries/test_recurrent_cells.py::test_a_linear_field_is_exponential_decay",
    "tests/models/timeseries/test_recurrent_cells.py::test_with_a_field_of_zero_the_ode_rnn_is_a_gru_to_the_bit",
    "tests/models/timeseries/test_recurrent_cells.py::test_what_lies_under_the_mask_reaches_no_value_and_no_gradient[gru-gap]",
    "tests/models/timeseries/test_recurrent_cells.py::test_an_empty_time_changes_only_how_a_gap_is_cut[gaussian-True]",
    "tests/models/timeseries/test_recurrent_cells.py::test_gaps_add_up_by_the_order_of_the_method_and_not_by_one_euler_step",
    "tests/ode/test_ode_implicit.py::test_jacobi_newton_converges_linearly_where_functional_iteration_diverges",
    "tests/sampling/test_relax.py::test_the_mean_gradient_is_the_exact_one[binary]",
    "tests/sampling/test_score_and_enumeration.py::test_the_mean_is_the_exact_gradient[loo-coins]",
    "tests/calculus/test_gradient_penalty.py::test_the_second_order_gradient_is_that_of_differences",
    "tests/games/test_wasserstein.py::test_a_critic_finds_the_distance_of_two_gaussians",
    "tests/cli/test_design_commands.py::test_fit_and_show",
    "tests/cli/test_molecule_commands.py::test_fit_and_show",
    "tests/cli/test_recommend_commands.py::test_fit_recommend_and_show",
    "tests/tasks/test_image_explainer.py::test_an_explainer_is_kept_without_its_model",
    "tests/tasks/test_molecule_designer.py::test_designs_are_what_is_said_of_them",
    "tests/tasks/test_sequence_designer.py::test_designs_are_what_is_said_of_them",
    "tests/tasks/test_task_store.py",
    "tests/tasks/test_flow_density.py::test_the_log_density_is_that_of_the_change_of_variables",
)
LIST = Path(__file__).with_suffix(".txt")


def long_cases() -> set[str]:
    """The names of the cases on the list."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    start = time.process_time()
    try:
        return (yield)
    finally:
        with Path(os.environ["CASES"], str(os.getpid())).open("a", encoding="utf-8") as file:
            file.write(f"{time.process_time() - start:.3f} {item.nodeid}\n")


def choose(seconds: dict[str, float]) -> list[str]:
    """The long ones of these cases."""
    tests = defaultdict(list)
    for case, taken in seconds.items():
        if not case.startswith(ALL_OF):
            tests[case.partition("[")[0]].append((taken, case))
    return sorted(
        case
        for cases in tests.values()
        for place, (taken, case) in enumerate(sorted(cases))
        if taken > (FIRST if place == 0 else EACH)
    )


def main() -> None:
    found = choose(_measured(all_of_them=True))
    LIST.write_text("\n".join([_HEADER, *found, ""]), encoding="utf-8")
    found = sorted({*found, *choose(_measured(all_of_them=False))})
    LIST.write_text("\n".join([_HEADER, *found, ""]), encoding="utf-8")


def _measured(*, all_of_them: bool) -> dict[str, float]:
    """CPU seconds of all cases, or of those that are not on the list."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile"]
        command += ["-m", "not slow", "-p", "long_cases", str(LIST.parent)]
        paths = os.pathsep.join(filter(None, [str(LIST.parent), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "CASES": folder, "PYTHONPATH": paths}
        if all_of_them:
            environment["ALL_CASES"] = "1"
        subprocess.run(command, env=environment, check=True, cwd=LIST.parents[1])
        lines = [line for file in Path(folder).iterdir() for line in file.open(encoding="utf-8")]
    parts = [line.rstrip("\n").partition(" ") for line in lines]
    return {case: float(taken) for taken, _, case in parts}


_HEADER = "# Cases that `make test` leaves to `make test-slow`; made by tests/long_cases.py."

if __name__ == "__main__":
    main()
