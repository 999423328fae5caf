"""`EnergyClassifier`: the classes of a table's rows, of which few may be known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax, logsumexp

from . import _energy_nets as nets
from ._class_start import Start
from ._table_classifier import AbstractTableClassifier
from ._trained import Trained

_SHOWN = 1001  # quantiles of the scores that are kept


class EnergyClassifier(AbstractTableClassifier):
    r"""The classes of a table's rows, by a classifier that is a density too.

    $$ \log p(x, y) = f(x)_y - \log Z, \qquad p(y | x) = \mathrm{softmax}(f(x))_y $$

    Rows without a class teach the density, and so where the classes part. f starts as a joint
    density in closed form: Gaussians of one covariance, fitted to all rows, whose classes are told
    apart by them and by logistic regression, mixed by cross-validation. With 320 rows with a class
    or more a network is added, which is trained until rows held out say stop, and kept where it
    gains for sure; then it is trained on, with all rows. With fewer the model is that start: a
    network has not gained on it. Probabilities are calibrated on rows held out.
    `report_` compares the model with logistic regression, boosted trees and label spreading on
    rows that took no part.

    The first training compiles, which takes some 10 seconds ("vera": 20); later ones of as many
    columns and classes, and up to 1024 rows, find those programs again.

    Args:
        method: how the network is trained: "jem", its density by chains of Langevin dynamics;
            "vera", by a generator; "supervised", without the density, which stays the start's.
        label: the column of the classes, of a table with named columns; an empty cell is a row
            without one. None: they are given to `fit` as y.
        columns: the columns to take, names (or places, of arrays); None takes all of numbers.
        id_column: the column that only names the rows; None looks for one.
        max_steps: the most training steps; None: so many that it seldom matters; 0 is the start.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        classes_: the classes, sorted.
        columns_: the columns that the model is of.
        id_column_: the column that names the rows, or None.
        left_out_: of each column that was not taken, why.
        notes_: what was done to rows and columns, and who wins, in sentences.
        report_: accuracy, log loss, Brier score and calibration error on rows that took no part, of
            this model and of others, and how far behind they are, with standard errors; None where
            no row could be held out.
        n_steps_: training steps; 0 where the model is what it starts from.
        data_: where the rows came from, their number, how many have a class, and their digest.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Raises:
        ValueError: a setting, the table or the classes do not fit; the message says which and how.

    Example:
        >>> import numpy as np, pullback as pb
        >>> x = np.random.default_rng(0).normal(size=(60, 2)) + np.arange(60)[:, None] % 2 * 4
        >>> y = np.where(np.arange(60) < 10, np.where(np.arange(60) % 2, "high", "low"), None)
        >>> model = pb.tasks.EnergyClassifier(random_state=0).fit(x, y)
        >>> model.predict([[0.0, 0.0], [4.0, 4.0]]).tolist()
        ['low', 'high']

    Source: Grathwohl et al., Your Classifier is Secretly an Energy Based Model, arXiv 1912.03263;
        Grathwohl et al., No MCMC for me, arXiv 2010.04230.
    """

    def __init__(
        self,
        method: str = "jem",
        *,
        label: str | None = None,
        columns: Sequence[str] | Sequence[int] | None = None,
        id_column: str | None = None,
        max_steps: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.method = method
        self.label = label
        self.columns = columns
        self.id_column = id_column
        self.max_steps = max_steps
        self.random_state = random_state
        self.progress = progress

    def score_samples(self, X: Any) -> Float[np.ndarray, " rows"]:
        """log p(x) up to a constant of the model's, in nats: compare rows by it, and not models."""
        return self._log_density(self._values(X))

    def share_below(self, log_density: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
        """The share of rows fitted that have a lower log-density: near 0, look at that row."""
        return np.interp(log_density, self.quantiles_, np.linspace(0, 1, _SHOWN), left=0, right=1)

    def _log_density(self, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        v = self.start_.whiten(self.inputs_.to_line(values))
        found = self.start_.log_density(v)
        if self.net_ is None or self.method == "supervised":
            return found
        logits = self.start_.log_probs(v) + nets.added(self.net_, v)
        return found + np.asarray(logsumexp(logits, axis=1))

    def _predictions(self, values: Float[np.ndarray, "n d"]) -> dict[str, list[Any]]:
        score = self._log_density(values)
        density = {"log_density": score.tolist(), "share_below": self.share_below(score).tolist()}
        return density | super()._predictions(values)

    def _train(
        self,
        start: Start,
        v: Float[np.ndarray, "n d"],
        codes: Int[np.ndarray, " n"],
        choose: Int[np.ndarray, " m"],
        room: int,
        steps: int | None,
        seed: int,
        first: Trained | None,
    ) -> Trained | None:
        return nets.train(
            self.method, start, v, codes, choose, first=first,
            room=room, steps=steps, seed=seed, progress=self.progress,
        )  # fmt: skip

    def _of_net(
        self, start: Start, net: nets.Net, v: Float[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "n k"]:
        return np.asarray(log_softmax(start.log_probs(v) + nets.added(net, v), axis=1))

    def _finish(self, values: Float[np.ndarray, "n d"]) -> None:
        levels = np.linspace(0, 1, _SHOWN)
        self.quantiles_ = np.quantile(self._log_density(values), levels)

    def _arrays(self) -> dict[str, np.ndarray]:
        return super()._arrays() | {"quantiles": self.quantiles_} | nets.arrays_of(self.net_)

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        super()._restore(arrays)
        self.quantiles_, self.net_ = arrays["quantiles"], nets.from_arrays(arrays)

    def _check_settings(self) -> None:
        if self.method not in nets.METHODS:
            known = ", ".join(map(repr, nets.METHODS))
            raise ValueError(f"`method` must be one of {known}, got {self.method!r}.")
        if self.max_steps is not None and self.max_steps < 0:
            raise ValueError(f"`max_steps` must be 0 or more, got {self.max_steps}.")
