"""`pullback fit dna`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from pullback.cli._common import BadUsage, Flag, OptionalName
from pullback.cli._fit_and_save import File, Folder, fit_and_save
from pullback.cli._reading import Decimal

if TYPE_CHECKING:
    from pullback.data import Sequences
    from pullback.tasks import AbstractTask

Steps = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]


def fit_dna(
    file: File,
    out: Folder,
    score: OptionalName = None,
    sequence: OptionalName = None,
    name: OptionalName = None,
    alphabet: str = "ACGT",
    ambiguous: Literal["error", "drop", "average"] = "error",
    one_strand: Annotated[Flag, tyro.conf.FlagCreatePairsOff] = False,
    max_steps: Steps = None,
    decimal: Decimal = None,
    seed: int = 0,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Fit a generator of sequences, and a predictor of their scores, to design new sequences.

    Args:
        file: Sequences of one length, with a score each or without: FASTA, CSV or Parquet; - reads
            CSV from standard input.
        out: The folder for the model.
        score: The column of scores, or in FASTA their key in the headers, as in >p7 signal=2.5
            (default: the column or key with a usual name, such as score, signal; without scores
            designs are by a motif, or by a function of your own).
        sequence: The column of sequences (default: the one with a usual name).
        name: The column that names the sequences (default: the one with a usual name).
        alphabet: The letters: ACGU of RNA, or those of proteins.
        ambiguous: What to do with sequences that have other letters: error; drop, leave them out;
            or average, of DNA and RNA, take N and the like as the mean of what they may be.
        one_strand: Do not take the reverse strand for the same sequence, as for RNA or splice
            sites.
        max_steps: Training steps of each network (default: chosen).
        decimal: The decimal sign, a point or a comma (default: found from the file).
        seed: The seed of all that is random.
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """
    if max_steps is not None and max_steps < 1:
        raise BadUsage(f"--max-steps must be 1 or more, got {max_steps}")

    def read(path: Path) -> "Sequences":
        from pullback import data

        return data.read_sequences(
            path, sequence=sequence, score=score, name=name, ambiguous=ambiguous,
            alphabet=alphabet, decimal=decimal,
        )  # fmt: skip

    def task() -> "AbstractTask":
        from pullback import tasks

        return tasks.SequenceDesigner(
            score_column=score,
            sequence_column=sequence,
            name_column=name,
            alphabet=alphabet,
            ambiguous=ambiguous,
            one_strand=one_strand,
            max_steps=max_steps,
            random_state=seed,
            progress=None if progress else False,
        )

    return fit_and_save(file, out, read, task, report=report)
