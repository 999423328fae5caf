"""`BayesianNetClassifier`: classes of a table's rows, by a network whose weights are random."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax, logsumexp

from . import _bayes_nets as nets
from ._class_start import Start
from ._net_arrays import arrays_of
from ._table_classifier import AbstractTableClassifier
from ._trained import Trained

_AT_ONCE = 4096  # rows, of which the outputs of all paths are held


class BayesianNetClassifier(AbstractTableClassifier):
    r"""The classes of a table's rows, by a Bayesian network of infinite depth.

    $$ p(y | x) = \frac1S \sum_s \mathrm{softmax}(W x + b + g(x; w_s))_y $$

    The weights w of the network g follow a stochastic differential equation in depth, whose drift
    is learned; predictions are means over paths of them. Training starts at lines, logistic
    regression and Gaussians of one covariance mixed by cross-validation, and the network is kept
    where it gains for sure on rows held out; then it is trained on, with all rows. With fewer than
    320 rows with a class the model is those lines. Probabilities are calibrated on rows held out.
    `report_` compares the model with logistic regression and boosted trees on rows that took no
    part.

    The first training compiles, which takes some 10 seconds; later ones of as many columns and
    classes, and up to 1024 rows, find those programs again.

    Args:
        method: "sde-bnn"; or "noisy-kfac" or "noisy-adam": one hidden layer of normal weights,
            which trains in seconds.
        label: the column of the classes, of a table with named columns. None: they are given to
            `fit` as y.
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
        report_: as for `EnergyClassifier`.
        n_steps_: training steps; 0 where the model is what it starts from.
        data_: where the rows came from, their number, how many have a class, and their digest.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Raises:
        ValueError: a setting, the table or the classes do not fit; the message says which and how.

    Example:
        >>> import numpy as np, pullback as pb
        >>> x = np.random.default_rng(0).normal(size=(60, 2)) + np.arange(60)[:, None] % 2 * 4
        >>> model = pb.tasks.BayesianNetClassifier(random_state=0).fit(x, np.arange(60) % 2)
        >>> model.predict([[0.0, 0.0], [4.0, 4.0]]).tolist()
        [0, 1]

    Source: Xu et al., Infinitely Deep Bayesian Neural Networks with Stochastic Differential
        Equations, arXiv 2102.06559.
    """

    _found = (*AbstractTableClassifier._found, "seed_")

    def __init__(
        self,
        method: str = "sde-bnn",
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
        self.seed_ = seed
        seen = codes >= 0
        if first is None:
            seen[choose] = False
        return nets.train(
            "classes", nets.Lines(start.weight, start.bias), v, codes, np.flatnonzero(seen),
            choose, method=self.method, first=first, room=room, steps=steps, seed=seed,
            progress=self.progress,
        )  # fmt: skip

    def _of_net(
        self, start: Start, net: nets.AnyNet, v: Float[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "n k"]:
        parts = [np.zeros((0, len(start.bias)))]
        for first in range(0, len(v), _AT_ONCE):
            log_probs = log_softmax(nets.outputs(net, v[first : first + _AT_ONCE], self.seed_), 2)
            parts.append(np.asarray(logsumexp(log_probs, axis=0)) - np.log(len(log_probs)))
        return np.concatenate(parts)

    def _of_unlabelled(self, none: int, rows: int) -> str:
        return f"{none} of {rows} rows have no class; they teach no more than where lines lie."

    def _arrays(self) -> dict[str, np.ndarray]:
        return super()._arrays() | arrays_of(self.net_)

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        super()._restore(arrays)
        self.net_ = nets.from_arrays(arrays, self.method)

    def _check_settings(self) -> None:
        nets.check_settings(self.method, self.max_steps)
