"""How good the tasks are on real data, beside what people use today; writes docs/tasks.md.

python benchmarks/bench_tasks.py                     every part, on scikit-learn's tables
python benchmarks/bench_tasks.py density --data DIR  one part, with the tables and series in DIR
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from _harness import RESULTS, ROOT, machine, markdown_table, splice, write_results
from _tasks_anomalies import anomalies, problems
from _tasks_continual import OURS as CONTINUAL
from _tasks_continual import TABLES as IN_PARTS
from _tasks_continual import TASKS, continual
from _tasks_density import BY_METHOD, METHODS, by_method, density
from _tasks_gan import REAL, sampled_tables, samples
from _tasks_intervals import intervals
from _tasks_labels import TABLES as LABELLED
from _tasks_labels import labels
from _tasks_series import LEVELS, series, sets
from _tasks_tables import regression, whole_tables, with_noise
from _tasks_trust import KINDS, trust
from _tasks_trust import TABLES as TRUSTED

PACKAGES = ("pullback", "jax", "scikit-learn", "numpy", "pyod")
PAGE = ROOT / "docs" / "tasks.md"
Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]


def run_methods(options: argparse.Namespace) -> Rows:
    """Of a few tables, by one split."""
    found = {}
    tables = whole_tables(options.data)
    for name in BY_METHOD:
        noisy = with_noise(tables[name], seed=0)
        found[f"{name} ({len(noisy)} x {noisy.shape[1]})"] = by_method(noisy, 0)
        print(name, found, flush=True)
    return found


def show_methods(found: Rows) -> str:
    rows = [
        [
            table,
            *(f"{row[method]['nats']:.2f}" for method in METHODS),
            *(
                " / ".join(f"{scale * row[method][key]:.1f}" for method in METHODS)
                for key, scale in (("first", 1), ("again", 1), ("use", 1e3))
            ),
        ]
        for table, row in found.items()
    ]
    header = [
        "nats a row, held out",
        *METHODS,
        "seconds to fit, compiling",
        "and again",
        "ms to score",
    ]
    return (
        "The methods of FlowDensity on one split; seconds in the order of the columns. All start "
        f"from the same mixture.\n\n{markdown_table(header, rows)}"
    )


def run_density(options: argparse.Namespace) -> Rows:
    """Log-densities: means, and means of standard errors, over a split for each seed."""
    found = {}
    for name, table in whole_tables(options.data).items():
        noisy = with_noise(table, seed=0)
        runs = [density(noisy, seed) for seed in range(options.seeds)]
        label = f"{name} ({len(noisy)} x {noisy.shape[1]})"
        found[label] = {
            rival: {key: float(np.mean([run[rival][key] for run in runs])) for key in row}
            for rival, row in runs[0].items()
        }
        print(label, found[label], flush=True)
    return found


def show_density(found: Rows) -> str:
    rivals = list(next(iter(found.values())))
    ours = rivals[0]
    rows = [
        [
            table,
            f"{row[ours]['nats']:.2f}",
            *(
                f"{row[name]['nats']:.2f} ({row[name]['ahead']:+.2f} ± {row[name]['error']:.2f})"
                for name in rivals[1:]
            ),
            " / ".join(f"{row[name]['fit']:.1f}" for name in rivals),
        ]
        for table, row in found.items()
    ]
    header = ["nats a row, held out", ours, *rivals[1:], "seconds to fit"]
    won = {
        name: sum(row[name]["ahead"] > 2 * row[name]["error"] for row in found.values())
        for name in rivals[1:]
    }
    lost = {
        name: sum(row[name]["ahead"] < -2 * row[name]["error"] for row in found.values())
        for name in rivals[1:]
    }
    told = "; ".join(f"than the {name}: {won[name]}, worse: {lost[name]}" for name in rivals[1:])
    return (
        f"In brackets: by how much {ours} is ahead, ± the standard error over held-out rows. Of "
        f"{len(found)} tables it is better by more than two of those {told}.\n\n"
        f"{markdown_table(header, rows)}"
    )


def run_anomalies(options: argparse.Namespace) -> Rows:
    """Areas under ROC curves, of other anomalies for each seed."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for seed in range(options.seeds):
        for name, (x, odd) in problems(options.data, seed).items():
            for rival, row in anomalies(x, odd, seed).items():
                kept = found.setdefault(name, {}).setdefault(rival, {"aurocs": [], "fits": []})
                kept["aurocs"].append(row["auroc"])
                kept["fits"].append(row["fit"])
            print(seed, name, found[name], flush=True)
    return found


def show_anomalies(found: Rows) -> str:
    rivals = list(next(iter(found.values())))
    rows = []
    for name, row in found.items():
        means = {rival: np.mean(row[rival]["aurocs"]) for rival in rivals}
        cells = [f"{means[rival]:.3f}" for rival in rivals]
        best = int(np.argmax(list(means.values())))
        cells[best] = f"**{cells[best]}**"
        times = " / ".join(f"{np.mean(row[rival]['fits']):.1f}" for rival in rivals)
        rows.append([name, *cells, times])
    seeds = len(next(iter(found.values()))[rivals[0]]["aurocs"])
    header = ["area under the ROC curve", *rivals, "seconds"]
    return (
        f"Means over {seeds} draws of the anomalies, 5 % of the rows; the best in bold. Nobody is "
        f"told which rows are odd.\n\n{markdown_table(header, rows)}"
    )


def run_labels(options: argparse.Namespace) -> Rows:
    """Accuracy and log loss, with other labels for each seed."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for table in LABELLED:
        runs = [labels(table, seed) for seed in range(options.seeds)]
        found[table] = {
            rival: {key: [run[rival][key] for run in runs] for key in row}
            for rival, row in runs[0].items()
        }
        print(table, found[table], flush=True)
    return found


def show_labels(found: Rows) -> str:
    rivals = list(next(iter(found.values())))
    parts = []
    for measure, title, best in (
        ("accuracy", "accuracy", np.argmax),
        ("log_loss", "log loss, lower is better", np.argmin),
    ):
        rows = []
        for table, row in found.items():
            values = np.asarray([row[rival][measure] for rival in rivals])
            cells = [f"{v.mean():.3f} ± {v.std(ddof=1) / len(v) ** 0.5:.3f}" for v in values]
            place = int(best(values.mean(axis=1)))
            cells[place] = f"**{cells[place]}**"
            rows.append([table, *cells])
        parts.append(markdown_table([title, *rivals], rows))
    times = [
        [table, *(f"{np.mean(row[rival]['fit']):.2f}" for rival in rivals)]
        for table, row in found.items()
    ]
    parts.append(markdown_table(["seconds to fit", *rivals], times))
    seeds = len(next(iter(found.values()))[rivals[0]]["accuracy"])
    head = (
        f"Means over {seeds} draws of the rows and labels ± their standard error; the best bold. "
        "Logistic regression and boosting see the labelled rows alone."
    )
    return "\n\n".join([head, *parts])


def run_intervals(options: argparse.Namespace) -> Rows:
    """RMSE, coverage and width, of another split for each seed."""
    found = {}
    for name, (x, y) in regression(options.data).items():
        runs = [intervals(x, y, seed) for seed in range(options.seeds)]
        found[name] = {
            rival: {key: [run[rival][key] for run in runs] for key in row}
            for rival, row in runs[0].items()
        }
        print(name, found[name], flush=True)
    return found


def show_intervals(found: Rows) -> str:
    rivals = list(next(iter(found.values())))
    mean = lambda row, rival, key: float(np.mean(row[rival][key]))
    parts = []
    for key, title, form in (
        ("coverage", "coverage of the 90 % band, %", lambda v: f"{100 * v:.1f}"),
        ("width", "its width", lambda v: f"{v:.2f}"),
        ("rmse", "RMSE", lambda v: f"{v:.3f}"),
        ("fit", "seconds", lambda v: f"{v:.1f}"),
    ):
        rows = [[table, *(form(mean(row, r, key)) for r in rivals)] for table, row in found.items()]
        parts.append(markdown_table([title, *rivals], rows))
    seeds = len(next(iter(found.values()))[rivals[0]]["rmse"])
    head = f"Means over {seeds} splits; RMSE and width in standard deviations of what is predicted."
    return "\n\n".join([head, *parts])


def run_series(options: argparse.Namespace) -> Any:
    """Errors and coverage of stays in intensive care and of walks."""
    if options.data is None:
        raise SystemExit("the part `series` needs --data, with physionet2012 and mocap35")
    found = {}
    for name, (train, test) in sets(options.data, 0).items():
        found[name] = series(train, test, 0)
        print(name, found[name], flush=True)
    return found


def show_series(found: Any) -> str:
    parts = ["Squared errors in variances of each variable; the share inside of the band in %."]
    for name, each in found.items():
        rows = []
        for task in ("filled in", "forecast"):
            for rival, row in each[task]["rivals"].items():
                inside = row.get("inside", {})
                shares = [f"{100 * inside[k]:.1f}" if k in inside else "" for k in map(str, LEVELS)]
                seconds = f"{row['use']:.1f}" if "use" in row else ""
                rows.append([f"{task}: {rival}", f"{row['error']:.3f}", *shares, seconds])
        header = [name, "error", *(f"{100 * level:g} %" for level in LEVELS), "seconds to predict"]
        parts.append(markdown_table(header, rows))
        parts.append(f"{each['fit']:.0f} s to fit.")
    return "\n\n".join(parts)


def run_trust(options: argparse.Namespace) -> Rows:
    """Areas under ROC curves for flipped labels, of other ones for each seed."""
    found = {}
    for kind in KINDS:
        for table in TRUSTED:
            runs = [trust(table, kind, seed) for seed in range(options.seeds)]
            found[f"{table}, {kind}"] = {
                rival: {key: [run[rival][key] for run in runs] for key in row}
                for rival, row in runs[0].items()
            }
            print(table, kind, found[f"{table}, {kind}"], flush=True)
    return found


def show_trust(found: Rows) -> str:
    rivals = list(next(iter(found.values())))
    rows = []
    for name, row in found.items():
        values = np.asarray([row[rival]["auroc"] for rival in rivals])
        cells = [f"{v.mean():.3f} ± {v.std(ddof=1) / len(v) ** 0.5:.3f}" for v in values]
        best = int(np.argmax(values.mean(axis=1)))
        cells[best] = f"**{cells[best]}**"
        steps = ", ".join(map(str, row[rivals[0]]["steps"]))
        times = " / ".join(f"{np.mean(row[rival]['fit']):.1f}" for rival in rivals)
        rows.append([name, *cells, steps, times])
    ahead, sure = [], []
    for kind in KINDS:
        of_kind = [row for name, row in found.items() if name.endswith(kind)]
        for rival in rivals[1:]:
            gains = np.concatenate(
                [np.subtract(row[rivals[0]]["auroc"], row[rival]["auroc"]) for row in of_kind]
            )
            error = gains.std(ddof=1) / len(gains) ** 0.5
            if rival == "without hypergradients":
                so = "gain" if gains.mean() > 2 * error else "gain nothing for sure"
                sure.append(f"where labels are wrong {kind} they {so}")
            ahead.append([kind, rival, f"{gains.mean():+.4f} ± {error:.4f}",
                          f"{(gains > 0).sum()}, {(gains < 0).sum()} of {len(gains)}"])  # fmt: skip
    told = "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())
    header = ["area under the ROC curve", *rivals, "steps kept", "CPU seconds"]
    return (
        f"Which labels were flipped, told by 1 - weight; {told}. Means over "
        f"{len(next(iter(found.values()))[rivals[0]]['auroc'])} draws ± their standard error, the "
        f"best bold. Clean rows are 50, or a sixth of a small table; digits are those from 0 to 4; "
        f"logistic regression and boosted trees are the "
        f"cross-validated probability of a row's own label, on the table alone. Beside the same "
        f"weights without hypergradients: {'; '.join(sure)}.\n\n"
        f"{markdown_table(header, rows)}\n\n"
        f"{markdown_table(['labels wrong', 'RowTrust beside', 'ahead by', 'won, lost'], ahead)}"
    )


def run_continual(options: argparse.Namespace) -> Rows:
    """Accuracies after the last task, with other rows and orders of columns for each seed."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for table in IN_PARTS:
        runs = [continual(table, seed) for seed in range(options.seeds)]
        found[table] = {
            rival: {key: [run[rival][key] for run in runs] for key in row}
            for rival, row in runs[0].items()
        }
        print(table, found[table], flush=True)
    return found


def show_continual(found: Rows) -> str:
    rivals = list(next(iter(found.values())))
    seeds = len(next(iter(found.values()))[CONTINUAL]["accuracy"])
    rows = [
        [
            table,
            *(
                f"{_with_error(row[name]['accuracy'])} ({np.mean(row[name]['first']):.3f})"
                for name in rivals
            ),
            " / ".join(f"{np.mean(row[name]['fit']):.1f}" for name in rivals),
        ]
        for table, row in found.items()
    ]
    return (
        f"{TASKS} tables one after another, each with the columns of the first in another order, "
        "by one call of `partial_fit` each; `SGDClassifier` sees each row twenty times. Mean "
        "accuracy on held-out rows of all tables after the last one, and in brackets of the first "
        f"table. Means over {seeds} splits ± their standard error. The last rival has kept all "
        "rows: where that is allowed, do so.\n\n"
        f"{markdown_table(['accuracy', *rivals, 'CPU seconds'], rows)}"
    )


def run_gan(options: argparse.Namespace) -> Rows:
    """Draws beside rows held out: means, and means of standard errors, over the seeds."""
    found = {}
    for name, table in sampled_tables(options.data).items():
        runs = [samples(table, seed) for seed in range(options.seeds)]
        label = f"{name} ({len(table)} x {table.shape[1]})"
        found[label] = {
            rival: {key: float(np.mean([run[rival][key] for run in runs])) for key in row}
            for rival, row in runs[0].items()
        }
        print(label, found[label], flush=True)
    return found


def show_gan(found: Rows) -> str:
    rivals = list(next(iter(found.values())))

    def table(title: str, cell: Callable[[Mapping[str, Any]], str], names: list[str]) -> str:
        rows = [[name, *(cell(row[rival]) for rival in names)] for name, row in found.items()]
        return markdown_table([title, *names], rows)

    auroc = lambda row: f"{row['auroc']:.3f} ± {row['standard_error']:.3f}"
    lies = lambda row: f"{row['density']:.2f}, {row['coverage']:.2f}"
    fit = lambda row: f"{row['fit']:.1f}"
    expected = np.mean([row[REAL]["expected_coverage"] for row in found.values()])
    return (
        "New rows, drawn of models of three quarters of a table, beside the other quarter, by "
        "normal scores of each column. Real rows are some of those fitted: as good as it gets. The "
        "area under the ROC curve is that of a random forest, by cross-validation: 0.5 where it "
        "cannot tell draws from rows.\n\n"
        f"{table('AUROC', auroc, rivals)}\n\n"
        f"Density, 1 where draws lie as rows do, and coverage, {expected:.2f} of draws of the same "
        "distribution:\n\n"
        f"{table('density, coverage', lies, rivals)}\n\n"
        f"{table('seconds to fit', fit, rivals[:-1])}"
    )


def _with_error(values: list[float]) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):.3f} ± {error:.3f}"


PARTS: dict[str, tuple[str, Callable[[argparse.Namespace], Any], Callable[[Any], str]]] = {
    "density": ("Densities", run_density, show_density),
    "methods": ("Densities by method", run_methods, show_methods),
    "labels": ("Five labels a class", run_labels, show_labels),
    "intervals": ("Numbers with bands", run_intervals, show_intervals),
    "series": ("Irregular series", run_series, show_series),
    "trust": ("Wrong labels", run_trust, show_trust),
    "continual": ("Tables one after another", run_continual, show_continual),
    "gan": ("New rows", run_gan, show_gan),
    "anomalies": ("Anomalies", run_anomalies, show_anomalies),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all")
    parser.add_argument(
        "--data", type=Path, help="the folder with uci_regression, physionet2012 and mocap35"
    )
    parser.add_argument("--seeds", type=int, default=3, help="splits of each table")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(unknown)}; there is: {', '.join(PARTS)}")
    where = machine(PACKAGES)
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    file = RESULTS / "tasks.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    for part in options.parts or PARTS:
        title, run, show = PARTS[part]
        found = run(options)
        kept[part] = {"machine": where, "seeds": options.seeds, "found": found}
        write_results("tasks", kept)
        told = (
            f"{where['cpu']}, {where['cores']} cores, load {where['load_at_start']} at the start; "
            f"{versions}. Seconds are those of one process on that machine, compilation of the "
            "first fit of a size included: read them as ratios."
        )
        splice(f"tasks-{part}", f"## {title}\n\n{show(found)}\n\n{told}", PAGE)


if __name__ == "__main__":
    main()
