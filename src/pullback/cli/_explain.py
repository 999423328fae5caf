"""`pullback explain`: why a model of the user's own says what it says."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from pullback.cli._common import (
    BadUsage,
    Flag,
    OptionalName,
    OptionalPath,
    TimeFormat,
    as_file,
    held,
    in_one_line,
    set_up_jax,
)
from pullback.cli._fit_and_save import Columns, Folder
from pullback.cli._reading import Decimal

if TYPE_CHECKING:
    from pullback.tasks import ImageExplainer, SeriesExplainer

Paths = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL] FILE")]
ModelFile = Annotated[str | None, tyro.conf.arg(metavar="FILE.py:NAME", help_behavior_hint="")]
Number = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
Count = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
Outputs = Annotated[Literal["probabilities", "logits"] | None, tyro.conf.arg(help_behavior_hint="")]
Objective = Annotated[Literal["sdr", "ssr", "joint"] | None, tyro.conf.arg(help_behavior_hint="")]
Kind = Annotated[
    Literal["categorical", "multilabel", "gaussian"] | None, tyro.conf.arg(help_behavior_hint="")
]
Duplicate = Annotated[Literal["error", "mean", "last"] | None, tyro.conf.arg(help_behavior_hint="")]

# Flags of both kinds, and of one alone. None, or no name, is what was not given.
_OF_BOTH = ("outputs", "samples", "batch_size")
_OF_PICTURES = ("target", "objective", "infill", "size_weight", "grid", "steps")
_OF_SERIES = (
    "kind", "variables", "step", "series", "time", "variable", "value", "time_format",
    "decimal", "on_duplicate", "max_steps",
)  # fmt: skip
# Of these a kept explainer has learned, and what is learned is not learned anew.
_OF_FIT = ("background", "infill", "variables", "step", "max_steps", "seed")
_WRITTEN = {
    "ImageExplainer": ("saliency.csv", "maps.npz", "curves.csv"),
    "SeriesExplainer": ("importance.csv", "top.csv"),
}


def explain(
    paths: Paths,
    out: Folder,
    model: ModelFile = None,
    background: OptionalPath = None,
    outputs: Outputs = None,
    samples: Count = None,
    batch_size: Count = None,
    target: OptionalName = None,
    objective: Objective = None,
    infill: OptionalName = None,
    size_weight: Number = None,
    grid: Count = None,
    steps: Count = None,
    kind: Kind = None,
    variables: Columns = (),
    step: Number = None,
    series: OptionalName = None,
    time: OptionalName = None,
    variable: OptionalName = None,
    value: OptionalName = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    on_duplicate: Duplicate = None,
    max_steps: Count = None,
    seed: Count = None,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Explain what a model of your own says: which part of a picture, which measurement and when.

    Args:
        paths: What to explain: a folder of PNG or JPEG files, one such file, or a .npy or .npz
            file; or a long table of series, CSV or Parquet (- reads CSV from standard input). MODEL
            may come first: the folder of a saved explainer, whose settings stay as they were unless
            flags say otherwise, or of a model that `pullback fit series` wrote with outcomes.
        out: The folder for tables, pictures and report.html, and for the explainer itself.
        model: The model: a Python file and the name of a function in it, or of a model with
            predict_proba. A function is given (n, channels, height, width), or the prefixes of
            series, (n, time, variables), and returns (n, classes).
        background: Pictures or series of the same kind, from which it is learned what could stand
            in hidden parts (default: those that are explained).
        outputs: What the model gives (default: logits of a module of torch or Equinox, and of
            series in steps; else probabilities).
        samples: Masks in each step of the search, or draws for each measurement (default: 8, 10).
        batch_size: The most that the model is given at once (default: no bound).
        target: For pictures, the class to explain (default: the predicted one of each).
        objective: For pictures, look for the smallest part whose removal destroys the class, that
            keeps it by itself, or that does both (default: sdr, what destroys it).
        infill: For pictures, what stands in removed parts: gaussian, other, mean, blur, local-mean
            or noise (default: gaussian, and of fewer than 50 pictures blur).
        size_weight: For pictures, the cost of each pixel of the region, in nats (default: the
            largest of three at which the region decides the class).
        grid: For pictures, the cells of the map along the longer side (default: by the size).
        steps: For pictures, the steps of the search (default: 300).
        kind: For series, what is predicted: one of several classes (categorical), each label by
            itself (multilabel), or a mean and a standard deviation (gaussian) (default:
            categorical).
        variables: For series, the variables that the model takes, in its order (default: all, in
            the order in which they first appear).
        step: For series, the time between the rows of a prefix, in the unit of the times (default:
            the usual gap).
        series: The column with the names of the series (default: one with a usual name).
        time: The column with the times, numbers or dates (default: one with a usual name).
        variable: The column with the names of the variables (default: one with a usual name).
        value: The column with the numbers (default: one with a usual name).
        time_format: For series, how dates are written, such as %d.%m.%Y; or the word number, where
            times are not dates (default: ISO 8601, such as 2024-01-31).
        decimal: For series, the decimal sign, a point or a comma (default: found from the file).
        on_duplicate: For series, what to do where a variable has several values at one time
            (default: error).
        max_steps: For series, training steps of the generator (default: by the series).
        seed: The seed of all that is random (default: 0).
        report: Write no report.html.
        progress: Show no progress bar.
    """
    return _explained(dict(locals()))


def _explained(given: dict[str, Any]) -> int:
    """Read the model and what is to be explained, explain it, and say what was written."""
    out, model, background = (given[name] for name in ("out", "model", "background"))
    saved, file = _split(given["paths"])
    of_series = str(file) == "-" or file.suffix.lower() in (".csv", ".parquet", ".pq")
    _refuse_other_flags(given, of_series)
    kind_of = "SeriesExplainer" if of_series else "ImageExplainer"
    if model is None and saved is None:
        raise BadUsage("say which model, --model my.py:predict: a Python file and a name in it")
    report = given["report"]
    written = [*_WRITTEN[kind_of], *(["report.html"] if report else [])]
    settings = _settings(given, of_series)
    with (
        held(out, "model.json", "model.safetensors", *written),
        in_one_line(),
        as_file(file) as path,
    ):
        set_up_jax()
        from pullback import tasks

        function = None if model is None else tasks.model_of_file(model)
        explainer = None if saved is None else _saved(saved, function, of_series)
        if isinstance(explainer, tasks.ImageExplainer | tasks.SeriesExplainer):
            _refuse_flags_of_the_fit(given, saved)
            explainer.set_params(**settings)
        else:
            task, seed = getattr(tasks, kind_of), given["seed"]
            settings["random_state"] = 0 if seed is None else seed
            explainer = task(function if explainer is None else explainer, **settings)
            explainer.fit(path if background is None else background)
        files = tasks.explain_file(explainer, path, out, report=report)
        explainer.save(out)  # what could not explain is not kept
    print(tasks.card(explainer, out))
    print(f"{_count(files)} explained: {', '.join(map(str, files[: len(_WRITTEN[kind_of])]))}")
    if report:
        print(f"report: {files[-1]}")
    return 0


def _settings(given: dict[str, Any], of_series: bool) -> dict[str, Any]:
    """Those of the task, of the flags that were given."""
    names = (*_OF_BOTH, *(_OF_SERIES if of_series else _OF_PICTURES))
    found = {name: given[name] for name in names if _is_given(given[name])}
    if "variables" in found:
        found["variables"] = [v for each in found["variables"] for v in each.split(",") if v]
    return {**found, "progress": None if given["progress"] else False}


def _is_given(value: Any) -> bool:
    return value is not None and value != ()


def _refuse_flags_of_the_fit(given: dict[str, Any], saved: Any) -> None:
    """Say which flags a kept explainer cannot heed, rather than leave them unheeded."""
    for name in _OF_FIT:
        if _is_given(given[name]):
            raise BadUsage(
                f"--{name.replace('_', '-')} is of what is learned, and {saved} keeps what was "
                f"learned: leave the flag out, or leave {saved} out and learn anew"
            )


def _split(paths: tuple[Path, ...]) -> tuple[Path | None, Path]:
    """The folder of a saved model, if there is one, and the file."""
    if not paths or len(paths) > 2:
        raise BadUsage(
            f"give what to explain, and in front of it perhaps a saved model; got {len(paths)} "
            "paths"
        )
    return (None, paths[0]) if len(paths) == 1 else (paths[0], paths[1])


def _refuse_other_flags(given: dict[str, Any], of_series: bool) -> None:
    """Say which flags are of the other kind, rather than leave them unheeded."""
    other, this = ("pictures", "series") if of_series else ("series", "pictures")
    for name in _OF_PICTURES if of_series else _OF_SERIES:
        if _is_given(given[name]):
            flag = name.replace("_", "-")
            raise BadUsage(f"--{flag} is of {other}, and what is to be explained are {this}")


def _saved(
    folder: Path, function: Any, of_series: bool
) -> "ImageExplainer | SeriesExplainer | Any":
    """An explainer that was kept, with the model that it is to ask; or a model of series itself."""
    from pullback import tasks

    found = tasks.load(folder, model=function)
    if isinstance(found, tasks.SeriesExplainer if of_series else tasks.ImageExplainer):
        if function is None:
            raise BadUsage(
                f"{folder} holds a {type(found).__name__}, which keeps no model: say which, "
                "--model my.py:predict"
            )
        return found
    if isinstance(found, tasks.SeriesModel) and of_series:
        return found
    what = "series" if of_series else "pictures"
    raise BadUsage(f"{folder} holds a {type(found).__name__}, which explains no {what}")


def _count(files: list[Path]) -> str:
    pictures = sum(file.parent.name == "overlays" for file in files)
    series = sum(file.parent.name == "heatmaps" for file in files)
    return f"{pictures} pictures" if pictures else f"{series} series"
