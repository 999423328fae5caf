"""The two shapes in which labelled data comes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Labelled(NamedTuple):
    """Examples with a label each. It is a PyTree, so `train.fit` takes it as it is.

    Attributes:
        x: the examples, along the leading axis.
        y: their classes, integers from 0.
    """

    x: Float[np.ndarray, "n ..."]
    y: Int[np.ndarray, " n"]


class Split(NamedTuple):
    """A training set and a test set."""

    train: Labelled
    test: Labelled


class Measured(NamedTuple):
    """Rows with a number each. It is a PyTree, so `train.fit` takes it as it is.

    Attributes:
        x: the rows.
        y: their numbers, in the units of the file.
    """

    x: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, " n"]


class MeasuredSplit(NamedTuple):
    """Rows to learn from, and rows to be judged by."""

    train: Measured
    test: Measured
