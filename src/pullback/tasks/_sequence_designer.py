"""`SequenceDesigner`: new sequences that score high and look like those that were measured."""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from pullback._inputs import positive
from pullback.data import Sequences, from_one_hot, one_hot, write_fasta

from . import _sequence_nets as nets
from ._designer import AbstractDesigner
from ._outputs import table_writer
from ._page import Report
from ._sequence_checks import told
from ._sequence_designs import SequenceDesigns, changes, notes_on
from ._sequence_goal import Goal, Own, goal_of, hits, kept_by, values
from ._sequence_input import (
    Reading,
    asked,
    check,
    check_settings,
    described,
    digest,
    is_fasta_name,
    read,
    rows_of,
    split,
)
from ._sequence_judge import judge
from ._sequence_scores import Range, SequenceScores
from ._settings import check_max_steps

_TRIES = 2  # candidates for each design
_COMPLEMENTARY = "ACGT"


class SequenceDesigner(AbstractDesigner):
    r"""New sequences that score high and look like those that were measured.

    $$ z \leftarrow z + \alpha \nabla_z\, \bar s(G(z)), \qquad G \text{ from the sequences}, \quad
       \bar s \text{ the mean of networks fitted to scores} $$

    A GAN learns what the sequences look like, and an ensemble of networks, where there are scores,
    what makes them high. A design climbs the score through both, so that it stays like the
    sequences of the fit; each is scored again as the letters that it is, by every member of the
    ensemble. `report_` says how good the predictor is on sequences held out, beside a ridge
    regression on counts of k-mers; how far samples lie from sequences, beside letters drawn place
    by place; and what designs gain over the best sequences of the fit and over climbing the letters
    alone. `notes_` say who wins. Designs with scores above all that were measured are the
    predictor's word alone: `design` says which those are.

    Args:
        score_column: of a file, the column of scores (of FASTA, their key in the headers); None
            takes the one with a usual name, if there is one; "" takes none. By this name, or else
            by "score", `design` knows them.
        sequence_column: of a file, that of sequences; None takes the one with a usual name.
        name_column: of a file, that of their names, likewise.
        alphabet: the letters.
        ambiguous: of sequences that have other letters: "error", "drop" leaves them out, "average"
            takes N and the like as the mean of what they may be.
        one_strand: the other strand of a sequence says nothing of it, as of splice sites; with
            letters other than ACGT it never does.
        max_steps: training steps of each network; None takes 400 of the generator, 1500 of the
            predictor.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        length_: letters of a sequence.
        score_name_: of what was fitted; None where there were no scores.
        range_: the scores seen, and how far members of the ensemble differ on what they know.
        report_: how good it is, as above; None of fewer than 60 different sequences.
        curve_: how far samples were from sequences held out, over training.
        notes_: what was done and who wins, in sentences.
        data_: where the sequences came from, their number and the digest of those fitted.

    Raises:
        ValueError: a setting or the sequences do not fit; the message says which and how.
        TypeError: what is given as sequences is no path and no strings.

    Example:
        >>> import numpy as np, pullback as pb
        >>> random = np.random.default_rng(0)
        >>> dna = ["".join(random.choice(list("ACGT"), 12)) for _ in range(59)]
        >>> signal = [each.count("G") for each in dna]
        >>> model = pb.tasks.SequenceDesigner(max_steps=2, random_state=0).fit(dna, signal)
        >>> found = model.design(3, fixed="AC..........", avoid="GG", random_state=0)
        >>> {each[:2] for each in found.letters}, found.mean.shape
        ({'AC'}, (3,))

    Source: Killoran et al., Generating and designing DNA with deep generative models,
        arXiv 1712.06148.
    """

    things = "sequences"

    report_: dict[str, Any] | None

    _found = (
        "notes_", "data_", "report_", "length_", "score_name_", "curve_", "range_", "source_",
    )  # fmt: skip

    def __init__(
        self,
        *,
        score_column: str | None = None,
        sequence_column: str | None = None,
        name_column: str | None = None,
        alphabet: str = "ACGT",
        ambiguous: str = "error",
        one_strand: bool = False,
        max_steps: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.score_column = score_column
        self.sequence_column = sequence_column
        self.name_column = name_column
        self.alphabet = alphabet
        self.ambiguous = ambiguous
        self.one_strand = one_strand
        self.max_steps = max_steps
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> "SequenceDesigner":
        """Fit sequences, and scores where there are some.

        Args:
            X: sequences of one length, as strings; the path of a FASTA, CSV or Parquet file; a
                data frame; or `pullback.data.Sequences`.
            y: a score for each, in any unit, NaN where a sequence was not measured; None: those of
                the file, if it has some.
        """
        self._check_settings()
        how = self._reading()
        found = read(X, y, how)
        x = rows_of(found, how)
        check(found)
        seed = int(check_random_state(self.random_state).randint(2**31))
        train, test = split(found.letters, seed, found.scores)
        settings = {"steps": self.max_steps, "seed": seed, "progress": self.progress}
        self.length_, self.source_ = x.shape[1], found.source
        self.letters_, self.scores_ = found.letters, found.scores
        self.__dict__.pop("_x", None)  # of another fit
        self.ensemble_, self.score_name_, self.range_ = None, None, None
        measured = None if found.scores is None else np.isfinite(found.scores)
        if found.scores is not None and measured is not None:
            taught, others = train[measured[train]], test if len(test) else train
            self.score_name_ = self.score_column or "score"
            self.ensemble_ = nets.train_ensemble(
                x[taught], found.scores[taught], self._both_strands, **settings
            )
            sd = nets.predict(self.ensemble_, x[others])[1]
            self.range_ = Range.of(found.scores[taught], sd)
        # After the scores, which may be refused.
        self.generator_, self.curve_ = nets.train_generator(x[train], **settings)
        self.data_ = {
            "source": found.source,
            "rows": len(found.letters),
            "measured": 0 if measured is None else int(measured.sum()),
            "file": isinstance(X, str | os.PathLike),
            "sha256": digest(found),
        }
        self.report_ = judge(self, train, test, seed) if len(test) else None
        self.notes_ = [*described(found, self.alphabet), *told(self.report_)]
        return self

    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> list[str]:
        """New sequences that look like those of the fit.

        Args:
            n_samples: how many.
            random_state: seed, generator or None.
        """
        check_is_fitted(self)
        positive(n_samples=n_samples)
        seed = int(check_random_state(random_state).randint(2**31))
        return from_one_hot(nets.sample(self.generator_, n_samples, seed), self.alphabet)

    def score(self, X: Any) -> SequenceScores:
        """What the ensemble predicts of sequences, and where it leaves what it has seen.

        Args:
            X: as for `fit`, of the length of those.

        Returns:
            A row for each, with NaN, and a warning, where a model that was fitted with
            ambiguous="drop" is given other letters.

        Raises:
            ValueError: no scores were fitted, all have other letters, or the sequences are of
                another length.
        """
        check_is_fitted(self)
        if self.ensemble_ is None or self.range_ is None:
            raise ValueError(
                "no scores were fitted, so there is nothing to predict: fit with some."
            )
        found, x, kept = asked(X, self._reading())
        if x.shape[1] != self.length_:
            raise ValueError(
                f"{found.source}: the sequences have {x.shape[1]} letters, and those of the fit "
                f"{self.length_}; cut or pad them."
            )
        mean, sd = np.full((2, len(kept)), np.nan)
        mean[kept], sd[kept] = nets.predict(self.ensemble_, x)
        outside = self.range_.outside(mean, sd)
        return SequenceScores(found.names, found.letters, mean, sd, outside, self._column)

    def design(
        self,
        n: int = 100,
        *,
        score: Any = None,
        avoid: Any = None,
        fixed: str | None = None,
        target: float | int | None = None,
        random_state: Any = None,
    ) -> SequenceDesigns:
        """New sequences that score high and look like those of the fit.

        Twice as many climb from random starts, and the best are given back, each once.

        Args:
            n: how many, at most.
            score: what they are to have: the fitted score, by its name or None; the letters of a
                motif, such as "CACGTG", where R is A or G; a `pullback.data.Motif`; or a function
                of JAX from rows `[length, letters]`, which lie between letters, to a number.
            avoid: what they are not to have, likewise, or several of these. Each counts as much as
                `score`, in standard deviations over the sequences of the fit. What is named by its
                letters is kept out, where there are designs without it.
            fixed: letters that stay, such as primers: as many as a sequence has, with N or "."
                where a letter is free.
            target: the score to come near to; None: as high as can be.
            random_state: seed, generator or None.

        Raises:
            ValueError: an argument does not fit; the message says which and how.
        """
        check_is_fitted(self)
        positive(n=n)
        goal = goal_of(score, avoid, target, self._own())
        seed = int(check_random_state(random_state).randint(2**31))
        drawn = nets.climb(
            self.generator_,
            goal.climbed,
            _TRIES * n,
            fixed=fixed,
            alphabet=self.alphabet,
            seed=seed,
        )
        return self._designs(drawn, goal, n, fixed)

    def _designs(self, drawn: nets.Drawn, goal: Goal, n: int, fixed: str | None) -> SequenceDesigns:
        """The best of what was drawn, each once, and those with a site to avoid last."""
        found = {
            site: hits(drawn.letters, site, self.alphabet, self._both_strands)
            for site in goal.sites
        }
        dirty = np.sum(list(found.values()), axis=0) if found else np.zeros(len(drawn.letters), int)
        first = np.sort(np.unique(np.asarray(drawn.letters), return_index=True)[1])
        order = first[np.lexsort((-drawn.goal[first], dirty[first] > 0))][:n]
        x = drawn.x[order]
        mean = sd = None
        outside: tuple[str, ...] = ("",) * len(order)
        if self.ensemble_ is not None and self.range_ is not None:
            mean, sd = nets.predict(self.ensemble_, x)
            outside = self.range_.outside(mean, sd)
        made = SequenceDesigns(
            tuple(drawn.letters[place] for place in order.tolist()),
            drawn.goal[order],
            drawn.goal_soft[order],
            {part.name: values(part.score, x) for part in goal.parts},
            mean,
            sd,
            outside,
            changes(x, self._x),
            {site: each[order] for site, each in found.items()},
            self._x.mean(axis=0, dtype=np.float64),
            self.alphabet,
            [],
            self._column,
        )
        kept = kept_by(fixed, goal.sites, self.alphabet, self._both_strands)
        return made._replace(notes=notes_on(made, n, self.range_, kept))

    def _write_samples(self, count: int, out: Path, seed: int) -> list[Path]:
        letters = self.sample(count, random_state=seed)
        names = tuple(f"sample{place}" for place in range(1, count + 1))
        if is_fasta_name(out):
            write_fasta(out, Sequences(names, tuple(letters)))
            return [out]
        table: dict[str, Any] = {"name": names, self._column: letters}
        if self.ensemble_ is not None:
            table = {**self.score(letters).columns(), **table}
        with table_writer(out) as write:
            write(table)
        return [out]

    def _write_scores(self, file: Path, out: Path) -> int:
        found = self.score(file)
        with table_writer(out) as write:
            columns = dict(found.columns())
            for name in ("mean", "sd"):
                columns[name] = [None if np.isnan(each) else each for each in columns[name]]
            write(columns)
        return int(np.isfinite(found.mean).sum())

    def _own(self) -> Own:
        name = self.score_name_ or "score"
        return Own(name, self.ensemble_, self._x, self.alphabet, self._both_strands)

    @functools.cached_property
    def _x(self) -> Float[np.ndarray, "n length letters"]:
        return one_hot(self.letters_, self.alphabet, ambiguous=self._averaged)

    @property
    def _column(self) -> str:
        """What sequences are called in the tables that are written, so that `score` reads them."""
        return self.sequence_column or "sequence"

    @property
    def _averaged(self) -> str:
        return "average" if self.ambiguous == "average" else "error"

    @property
    def _both_strands(self) -> bool:
        return self.alphabet == _COMPLEMENTARY and not self.one_strand

    def _reading(self) -> Reading:
        return Reading(
            self.sequence_column, self.score_column, self.name_column, self.ambiguous, self.alphabet
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        letters = np.frombuffer("".join(self.letters_).encode(), np.uint8)
        arrays: dict[str, np.ndarray] = {"letters": letters.reshape(len(self.letters_), -1)}
        if self.scores_ is not None:
            arrays["scores"] = np.asarray(self.scores_, np.float64)
        return arrays | nets.kept(self.generator_, self.ensemble_)

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.letters_ = tuple(row.tobytes().decode() for row in arrays["letters"])
        self.scores_ = arrays.get("scores")
        self.range_ = None if self.range_ is None else Range(*self.range_)
        self.curve_ = nets.Curve(*self.curve_)
        self.generator_, self.ensemble_ = nets.from_arrays(
            arrays, self.length_, len(self.alphabet), self._both_strands
        )

    def _card(self) -> list[str]:
        data = self.data_
        scored = f", {data['measured']} with a score" if data["measured"] else ", without scores"
        return [
            f"SequenceDesigner of {data['source']}: {data['rows']} sequences of {self.length_} "
            f"letters{scored}",
            *self.notes_,
        ]

    def _commands(self, name: str) -> list[str]:
        if self.ensemble_ is None:
            return [
                f"pullback design {name} --score CACGTG --out designs",
                f"pullback sample {name} -n 1000 --out samples.fasta",
            ]
        return [
            f"pullback design {name} -n 100 --out designs",
            f"pullback design {name} --avoid GAATTC --fixed {_example(self.length_)} --out designs",
            f"pullback score {name} FILE --out scores.csv",
            f"pullback sample {name} -n 1000 --out samples.fasta",
        ]

    def _report(self, given: Any) -> Report:
        from ._sequence_page import sequence_page

        return sequence_page(self)

    def _check_settings(self) -> None:
        check_settings(self.alphabet, self.ambiguous)
        check_max_steps(self.max_steps, least=1)
        if sorted(self.alphabet) == sorted(_COMPLEMENTARY) != list(self.alphabet):
            if not self.one_strand:
                raise ValueError(
                    f"`alphabet` of DNA must be in the order {_COMPLEMENTARY!r}, got "
                    f"{self.alphabet!r}; or say one_strand=True."
                )


def _example(length: int) -> str:
    """Letters to keep, such as a primer's, in front."""
    return "ACGT"[: length // 2] + "N" * (length - min(4, length // 2))
