"""One labelled set as several tasks."""

import inspect

import numpy as np
import pytest

from pullback.data import Labelled, Split, permuted_tasks, split_tasks


def numbered(n=12, start=0):
    """Examples whose features are all different, in four classes."""
    x = np.arange(start, start + n * 6, dtype=np.float32).reshape(n, 2, 3)
    return Labelled(x, np.arange(n, dtype=np.int32) % 4)


OTHER = Labelled(np.zeros((4, 5)), np.zeros(4, int))
SET = Split(numbered(), numbered(8, 1000))


def test_permuted_tasks_move_the_features_of_all_examples_alike():
    tasks = permuted_tasks(SET, 4, seed=3)
    assert len(tasks) == 4
    np.testing.assert_array_equal(tasks[0].train.x, SET.train.x)
    orders = []
    for task in tasks:
        order = (task.train.x[0] - SET.train.x[0, 0, 0]).ravel()
        orders.append(tuple(order.tolist()))
        assert sorted(order) == list(range(6))
        for part, whole in zip(task, SET, strict=True):
            assert part.x.shape == whole.x.shape
            assert part.x.dtype == np.float32
            base = whole.x[:, :1, :1]
            np.testing.assert_array_equal(part.x - base, np.broadcast_to(
                order.reshape(2, 3), part.x.shape))  # fmt: skip
            np.testing.assert_array_equal(part.y, whole.y)
    assert len(set(orders)) == 4
    again, other = permuted_tasks(SET, 4, seed=3), permuted_tasks(SET, 4, seed=4)
    np.testing.assert_array_equal(again[2].test.x, tasks[2].test.x)
    assert (other[2].test.x != tasks[2].test.x).any()


def test_more_tasks_begin_with_the_same_ones():
    few, many = permuted_tasks(SET, 2), permuted_tasks(SET, 5)
    np.testing.assert_array_equal(few[1].train.x, many[1].train.x)


def test_split_tasks_part_the_classes():
    tasks = split_tasks(SET, [(2, 0), (3,)])
    assert [sorted(set(task.train.y.tolist())) for task in tasks] == [[0, 2], [3]]
    for part, whole in zip(tasks[0], SET, strict=True):
        rows = np.isin(whole.y, [0, 2])
        np.testing.assert_array_equal(part.x, whole.x[rows])
        np.testing.assert_array_equal(part.y, whole.y[rows])


def test_a_number_of_tasks_shares_the_classes_out():
    sizes = lambda tasks: [len(set(task.train.y.tolist())) for task in tasks]
    assert sizes(split_tasks(SET, 3)) == [2, 1, 1]
    shuffled = split_tasks(SET, 2, seed=2)
    assert sizes(shuffled) == [2, 2]
    parts = [sorted(set(task.train.y.tolist())) for task in shuffled]
    assert sorted(label for part in parts for label in part) == [0, 1, 2, 3]
    assert parts != [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: permuted_tasks(SET, 0), "`n_tasks` must be 1 or more"),
        (
            lambda: permuted_tasks(Split(SET.train, OTHER), 2),
            "the same features",
        ),
        (lambda: split_tasks(SET, 5), "between 1 and the number of classes, 4, got 5"),
        (lambda: split_tasks(SET, 0), "between 1 and"),
        (lambda: split_tasks(SET, [(0, 1), (1,)]), r"\[1\] are named twice"),
        (lambda: split_tasks(SET, [(0, 7)]), r"classes \[7\], of which the train set"),
        (lambda: split_tasks(SET, [(0,), ()]), "one or more"),
        (lambda: split_tasks(SET, []), "one or more"),
        (lambda: split_tasks(SET, [(0,)], seed=1), "`seed` is for a number"),
        (
            lambda: split_tasks(Split(SET.train, Labelled(SET.test.x[:3], SET.test.y[:3])), 4),
            r"task of the classes \[3\] has no example in the test set",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_groups_are_a_number_of_any_kind_or_lists():
    for found, wanted in zip(split_tasks(SET, np.int64(2)), split_tasks(SET, 2), strict=True):
        np.testing.assert_array_equal(found.train.x, wanted.train.x)
    for groups in ([0, 1, 2], 2.0, None):
        with pytest.raises(TypeError, match="`groups` must be a number of tasks, or the classes"):
            inspect.unwrap(split_tasks)(SET, groups)
