"""Designs as they are given back: a table, a FASTA file, and logos."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pullback._extras import extra
from pullback._files import atomic_write
from pullback.data import Sequences, one_hot, write_fasta
from pullback.plots import figure, house_style, sequence_logo

from ._outputs import table_writer
from ._png import png
from ._sequence_scores import Range


class SequenceDesigns(NamedTuple):
    """Sequences that were designed, the best first.

    Attributes:
        letters: the designs.
        goal: what was climbed, of the sequence of letters: each score in standard deviations over
            the sequences of the fit, weighed where there are several.
        goal_soft: what was climbed before letters were chosen: where it is far above `goal`, the
            climb has used what no sequence has.
        scores: of each score that the goal is made of, in its own unit, of the sequence of letters.
        mean: what the ensemble predicts; None where no scores were fitted.
        sd: how far its members differ.
        outside: where the predictor leaves what it has seen, as of `SequenceScores`.
        changes: letters that differ from the nearest sequence of the fit.
        hits: of each site that is to be avoided, how often it is there all the same.
        seen: how often each letter stood at each place in the sequences of the fit.
        alphabet: the letters.
        notes: what there is to say of them, in sentences.
        column: what the sequences are called in the table.
    """

    letters: tuple[str, ...]
    goal: Float[np.ndarray, " n"]
    goal_soft: Float[np.ndarray, " n"]
    scores: dict[str, Float[np.ndarray, " n"]]
    mean: Float[np.ndarray, " n"] | None
    sd: Float[np.ndarray, " n"] | None
    outside: tuple[str, ...]
    changes: Int[np.ndarray, " n"]
    hits: dict[str, Int[np.ndarray, " n"]]
    seen: Float[np.ndarray, "length letters"]
    alphabet: str
    notes: list[str]
    column: str = "sequence"

    def columns(self) -> dict[str, Sequence[Any]]:
        """The table of designs, by its columns."""
        found: dict[str, Sequence[Any]] = {
            "name": [f"design{place}" for place in range(1, len(self.letters) + 1)],
            self.column: self.letters,
        }
        if self.mean is not None and self.sd is not None:
            found |= {"mean": self.mean.tolist(), "sd": self.sd.tolist(), "outside": self.outside}
        found |= {f"score_{name}": value.tolist() for name, value in self.scores.items()}
        found |= {"goal": self.goal.tolist(), "goal_soft": self.goal_soft.tolist()}
        found |= {f"hits_{name}": value.tolist() for name, value in self.hits.items()}
        return {**found, "changes": self.changes.tolist()}

    def to_frame(self) -> Any:
        """The table of designs as a data frame of pandas, which must be installed."""
        return extra("pandas", "dna").DataFrame(self.columns())

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write `designs.fasta`, `designs.csv` and, where logomaker is installed, `logos.png`.

        The score in FASTA is what the ensemble predicts, `mean`; none where no scores were fitted.

        Returns:
            The files.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        table, fasta, logos = (folder / name for name in FILES)
        columns = self.columns()
        with table_writer(table) as write:
            write(columns)
        write_fasta(fasta, Sequences(tuple(columns["name"]), self.letters, self.mean))
        try:
            picture = self.figure()
        except ImportError:
            return [fasta, table]
        with atomic_write(logos) as file:
            file.write(png(picture))
        return [fasta, table, logos]

    def figure(self) -> Any:
        """Logos of the sequences of the fit and of the designs, one above the other."""
        made = one_hot(self.letters, self.alphabet)
        return logos(
            {
                "sequences of the fit": self.seen,
                f"{len(self.letters)} designs": made.mean(axis=0, dtype=np.float64),
                "the best design": made[0].astype(np.float64),
            },
            self.alphabet,
        )


FILES = "designs.csv", "designs.fasta", "logos.png"
_FAINT = 0.1  # bits; less is chance in a few hundred sequences
_ROWS = 256  # designs beside all sequences of the fit


def changes(
    x: Float[np.ndarray, "n length letters"], seen: Float[np.ndarray, "m length letters"]
) -> Int[np.ndarray, " n"]:
    """Letters of each sequence that differ from the nearest of those seen."""
    flat, known = x.reshape(len(x), -1), seen.reshape(len(seen), -1).T
    parts = [flat[k : k + _ROWS] @ known for k in range(0, len(flat), _ROWS)]
    same = np.concatenate([part.max(axis=1) for part in parts])
    return np.rint(x.shape[1] - same).astype(int)


def notes_on(
    found: SequenceDesigns, asked: int, known: Range | None, kept: Sequence[str] = ()
) -> list[str]:
    """What there is to say of designs, in sentences.

    Args:
        found: the designs.
        asked: how many were asked for.
        known: what the predictor has seen.
        kept: sites to avoid that stand in letters which were to stay.
    """
    count, notes = len(found.letters), []
    if count < asked:
        notes.append(
            f"{count} designs and not {asked}: the climbs ended at so many different sequences."
        )
    if known is not None and found.mean is not None:
        above = sum("above" in each for each in found.outside)
        unsure = sum("unsure" in each for each in found.outside)
        what = f"above every score of the fit ({known.high:.4g})"
        notes.append(
            f"{above} of {count} designs are predicted to be {what}, where the predictor has seen "
            "nothing: measure some before you build on it."
            if above
            else f"No design is predicted to be {what}; the best mean is {found.mean.max():.4g}."
        )
        if unsure:
            notes.append(
                f"Of {unsure} of {count} designs the members of the predictor differ more than on "
                "99 of 100 sequences that they have not seen (column outside, unsure): take those "
                "last."
            )
    for site, each in found.hits.items():
        left = int((each > 0).sum())
        if site in kept:
            notes.append(f"Every design has {site}, which stands in `fixed`.")
            continue
        notes.append(
            f"{left} of {count} designs have {site} all the same (column hits_{site}): there were "
            "too few without it."
            if left
            else f"No design has {site}."
        )
    letters, known_already = len(found.letters[0]), int((found.changes == 0).sum())
    notes.append(
        f"Designs differ from the nearest sequence of the fit in {int(np.median(found.changes))} "
        f"of {letters} letters (median); {known_already} of them are sequences of the fit."
    )
    return notes


def logos(rows: dict[str, Float[np.ndarray, "length letters"]], alphabet: str) -> Any:
    """Logos of several sets of sequences, one above the other.

    Args:
        rows: of each set by its name, how often each letter stands at each place.
        alphabet: the letters.
    """
    length = len(next(iter(rows.values())))
    width = float(np.clip(0.22 * length + 1.2, 5, 14))
    with house_style(math=False):
        fig, axes = figure(len(rows), 1, width=width, height=1.35 * len(rows))
        for ax, (name, shares) in zip(np.ravel(axes), rows.items(), strict=True):
            sequence_logo(ax, shares, alphabet)
            bits = np.log2(len(alphabet)) + np.sum(shares * np.log2(np.maximum(shares, 1e-9)), 1)
            top = float(np.clip(1.1 * bits.max(), _FAINT, np.log2(len(alphabet))))
            ax.set_ylim(0, top)
            ax.set_yticks([0, top], ["0", f"{top:.2g}"])
            ax.set_title(name)
    return fig
