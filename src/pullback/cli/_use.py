"""`pullback score`, `predict`, `sample` and `show`: a saved model, used."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from pullback.cli._common import (
    BadUsage,
    Flag,
    as_file,
    check_graphs_out,
    check_out,
    in_one_line,
    set_up_jax,
    task_of,
)
from pullback.cli._fit_and_save import File
from pullback.cli._reading import AS_IT_LOOKS, Read

Model = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
Out = Annotated[Path, tyro.conf.arg(metavar="FILE")]


def score(
    model: Model, file: File, out: Out = Path("scores.csv"), reading: Read = AS_IT_LOOKS
) -> int:
    """Score the rows of a file by a saved model: how likely each is, and which are anomalies.

    For sequences: the predicted score of each, and which are unlike those that the predictor was
    fitted to. For molecules: the predicted properties, and those that RDKit computes. For graphs:
    how likely each is.

    Args:
        model: The folder that `pullback fit` wrote.
        file: A table with the columns of the model; - reads CSV from standard input. Of sequences
            FASTA too; of graphs what `pullback fit graphs` takes.
        out: The CSV or Parquet file to write; - writes CSV to standard output.
    """
    check_out(out, file)
    set_up_jax()
    from pullback import tasks

    with in_one_line(), as_file(file) as path:
        known = tasks.load(model)
        count = tasks.score_file(known, path, out, **reading.given())
    told(f"{_counted(count, known)} scored", out)
    return 0


def predict(
    model: Model, file: File, out: Out, level: float = 0.9, reading: Read = AS_IT_LOOKS
) -> int:
    """Predict the class or number of each row, outcomes of series, or properties of molecules.

    Args:
        model: The folder that `pullback fit` wrote.
        file: A table with the columns of the model, a long table of series, or molecules; - reads
            CSV from standard input.
        out: The CSV or Parquet file to write; - writes CSV to standard output.
        level: The probability that a number lies in its band, from lower to upper.
    """
    check_out(out, file)
    if not 0 < level < 1:
        raise BadUsage(f"--level must lie between 0 and 1, got {level:g}")
    set_up_jax()
    from pullback import tasks

    with in_one_line(), as_file(file) as path:
        known = tasks.load(model)
        count = tasks.predict_file(known, path, out, level=level, **reading.given())
    told(f"{_counted(count, known)} predicted", out)
    return 0


def sample(
    model: Model,
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None,
    n: Annotated[int | None, tyro.conf.arg(aliases=["-n"], help_behavior_hint="")] = None,
    connected: Annotated[Flag, tyro.conf.FlagCreatePairsOff] = False,
    seed: int = 0,
) -> int:
    """Draw new rows, sequences, molecules or graphs from a saved model.

    Args:
        model: The folder that `pullback fit` wrote.
        out: The CSV or Parquet file to write (default: samples.csv), or FASTA for sequences; -
            writes CSV to standard output. For graphs: a GraphML file, a zip of such files, or .npz
            (default: samples.graphml, or a zip where there are several); a table of their
            statistics and a sheet of drawings are written too.
        n: How many to draw (default: 1000, or 100 graphs).
        connected: For graphs: draw each in one piece (default: where all graphs of the fit are).
        seed: The seed of the draws.
    """
    graphs = task_of(model) == "GraphGenerator"
    out = out or Path("samples.graphml" if graphs else "samples.csv")
    n = (100 if graphs else 1000) if n is None else n
    if n < 1:
        raise BadUsage(f"-n must be 1 or more, got {n}")
    if connected and not graphs:
        raise BadUsage(f"--connected is of graphs, and {model} holds no model of such")
    if graphs:
        check_graphs_out(out)
    else:
        check_out(out, more=(".fasta", ".fa", ".fna"))
    set_up_jax()
    from pullback import tasks

    with in_one_line():
        known = tasks.load(model)
        if graphs:
            files = known.write_samples(n, out, connected=connected or None, random_state=seed)
        else:
            files = tasks.sample_file(known, n, out, random_state=seed)
    told(f"{_counted(n, known)} drawn", *files)
    return 0


def show(model: Model) -> int:
    """Show what a saved model was fitted to, how it compares with simpler ones, and its uses.

    Args:
        model: The folder that `pullback fit` wrote.
    """
    set_up_jax()
    from pullback import tasks

    with in_one_line():
        print(tasks.card(tasks.load(model), model))
    return 0


def _counted(number: int, model: Any) -> str:
    things = getattr(model, "things", "rows")
    return f"{number} {things.removesuffix('s') if number == 1 else things}"


def told(what: str, *files: Path) -> None:
    """Say what was written, but not amid a table on standard output."""
    if str(files[0]) != "-":
        print(f"{what}: {', '.join(map(str, files))}")
