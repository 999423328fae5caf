"""One labelled set as several tasks, to be learned one after another."""

import numbers
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from pullback.data._types import Labelled, Split


def permuted_tasks(split: Split, n_tasks: int, *, seed: int = 0) -> list[Split]:
    """The same examples and classes, with their features in another order in each task.

    All tasks are equally hard for a network without convolutions, and what one learns is of no use
    to the next.

    Args:
        split: a training set and a test set.
        n_tasks: how many, the first of which is `split` as it is.
        seed: which orders.

    Returns:
        A training set and a test set for each task, of the shapes of `split`.

    Raises:
        ValueError: `n_tasks` is below 1, or the two sets differ in their features.

    Example:
        >>> from pullback.data import digits
        >>> tasks = permuted_tasks(digits(), 3)
        >>> len(tasks), tasks[2].train.x.shape
        (3, (1347, 8, 8))
        >>> bool((np.sort(tasks[2].test.x[0], None) == np.sort(tasks[0].test.x[0], None)).all())
        True

    Source: Goodfellow et al., An Empirical Investigation of Catastrophic Forgetting, arXiv
        1312.6211; Zenke, Poole and Ganguli, arXiv 1703.04200, section 4.2.
    """
    if n_tasks < 1:
        raise ValueError(f"`n_tasks` must be 1 or more, got {n_tasks}.")
    shape = split.train.x.shape[1:]
    if split.test.x.shape[1:] != shape:
        raise ValueError(
            "the training set and the test set of `split` must have the same features, got "
            f"{shape} and {split.test.x.shape[1:]}."
        )
    rng, size = np.random.default_rng(seed), int(np.prod(shape))
    orders = [np.arange(size), *(rng.permutation(size) for _ in range(n_tasks - 1))]

    def permuted(x: Float[np.ndarray, "n ..."], order: np.ndarray) -> Float[np.ndarray, "n ..."]:
        return x.reshape(len(x), size)[:, order].reshape(x.shape)

    return [Split(*(Labelled(permuted(x, order), y) for x, y in split)) for order in orders]


def split_tasks(
    split: Split, groups: int | np.integer | Sequence[Sequence[int]], *, seed: int | None = None
) -> list[Split]:
    """Some of the classes in each task. Classes keep their numbers.

    Args:
        split: a training set and a test set.
        groups: the classes of each task; or how many tasks, of which each has as many classes as
            the next one, or one more.
        seed: with a number of tasks, which classes come together. None: in their order.

    Returns:
        A training set and a test set for each task.

    Raises:
        TypeError: `groups` is neither.
        ValueError: there are fewer classes than tasks; a class is in two tasks, or has no example;
            a task has none.

    Example:
        >>> from pullback.data import digits
        >>> [np.unique(task.train.y).tolist() for task in split_tasks(digits(), 5)]
        [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]

    Source: Zenke, Poole and Ganguli, arXiv 1703.04200, section 4.1.
    """
    if isinstance(groups, numbers.Integral):
        classes = np.unique(split.train.y)
        if not 1 <= groups <= len(classes):
            raise ValueError(
                f"`groups` must be between 1 and the number of classes, {len(classes)}, got "
                f"{groups}."
            )
        if seed is not None:
            classes = np.random.default_rng(seed).permutation(classes)
        parts = [part.tolist() for part in np.array_split(classes, int(groups))]
    else:
        if seed is not None:
            raise ValueError("`seed` is for a number of tasks; `groups` says which classes.")
        try:
            parts = [list(group) for group in cast(Any, groups)]
        except TypeError:
            raise TypeError(
                "`groups` must be a number of tasks, or the classes of each task such as "
                f"[[0, 1], [2, 3]]; got {groups!r}."
            ) from None
        _check_groups(split, parts)
    rows = lambda labelled, group: np.isin(labelled.y, group)
    take = lambda labelled, rows: Labelled(labelled.x[rows], labelled.y[rows])
    tasks = [Split(*(take(part, rows(part, group)) for part in split)) for group in parts]
    for task, group in zip(tasks, parts, strict=True):
        for name, part in task._asdict().items():
            if not len(part.y):
                raise ValueError(
                    f"the task of the classes {group} has no example in the {name} set: take fewer "
                    "tasks, or give a `split` that has some."
                )
    return tasks


def _check_groups(split: Split, groups: list[list[int]]) -> None:
    if not groups or not all(groups):
        raise ValueError("`groups` must hold the classes of each task, one or more.")
    named = [label for group in groups for label in group]
    twice = sorted({label for label in named if named.count(label) > 1})
    if twice:
        raise ValueError(f"each class must be in one task; {twice} are named twice in `groups`.")
    for name, part in split._asdict().items():
        missing = sorted(set(named) - set(part.y.tolist()))
        if missing:
            raise ValueError(
                f"`groups` names the classes {missing}, of which the {name} set has no example."
            )
