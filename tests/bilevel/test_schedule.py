"""A schedule: what it says at a step, in files, and in a training that replays it."""

from collections import namedtuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pullback as pb
from pullback.bilevel import Bounded, Integer, Positive, Recorded, Schedule

Pair = namedtuple("Pair", ["first", "second"])


def recorded():
    return {
        "rates": Bounded(jnp.asarray([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]), 0.0, 0.9),
        "holes": Integer(jnp.asarray([0, 3, 4]), 0, 4),
        "layers": [
            jnp.asarray([1.0, 2.0, 3.0]),
            {"decay": Positive(jnp.asarray([1e-9, 1.0, 7.0]))},
        ],
    }


STEPS = [0, 10, 30]


@pytest.mark.parametrize("step", [0, 9, 10, 29, 30, 10_000])
def test_at_a_step_it_is_the_last_recorded_at_it_or_before(step):
    schedule, row = Schedule(STEPS, recorded()), sum(step >= s for s in STEPS) - 1
    want = jax.tree.map(lambda leaf: np.asarray(leaf)[row], schedule.hyper)
    for found in (schedule.at(step), eqx.filter_jit(schedule.at)(jnp.asarray(step))):
        assert jax.tree.all(jax.tree.map(np.array_equal, found, want))
    np.testing.assert_allclose(found["rates"].value, [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]][row])
    assert int(found["holes"].value) == [0, 3, 4][row]


def test_before_the_first_step_it_is_the_first():
    assert float(Schedule([5, 9], jnp.asarray([1.0, 2.0])).at(0)) == 1.0


@pytest.mark.parametrize("ending", [".json", ".csv"])
def test_what_is_saved_comes_back_to_the_bit(tmp_path, ending):
    file = tmp_path / f"schedule{ending}"
    for dtype in (jnp.float64, jnp.float32):
        cast = lambda leaf, dtype=dtype: leaf.astype(dtype)
        schedule = Schedule(STEPS, jax.tree.map(cast, recorded()))
        schedule.save(file)
        found = Schedule.load(file)
        assert jax.tree.structure(found) == jax.tree.structure(schedule)
        same = lambda a, b: np.array_equal(a.astype(b.dtype), b)
        assert jax.tree.all(jax.tree.map(same, found, schedule))
        assert jnp.issubdtype(found.hyper["holes"].value.dtype, jnp.integer)


@pytest.mark.parametrize("ending", [".json", ".csv"])
def test_a_structure_of_ones_own_comes_back_by_like(tmp_path, ending):
    file = tmp_path / f"schedule{ending}"
    like = Pair(Bounded(0.5, 0.0, 1.0), jnp.zeros((2, 1), jnp.float32))
    rows = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 1]), like)
    Schedule([0, 1], rows).save(file)
    found = Schedule.load(file, like=like)
    assert isinstance(found.at(0), Pair)
    assert found.hyper.second.dtype == jnp.float32
    np.testing.assert_array_equal(found.hyper.second, rows.second)
    np.testing.assert_allclose(found.hyper.first.value, rows.first.value)
    with pytest.raises(ValueError, match=r"schedule.*`like` has"):
        Schedule.load(file, like=like._replace(second=jnp.zeros(2)))


@pytest.mark.parametrize("ending", [".json", ".csv"])
@pytest.mark.parametrize(
    "hyper",
    [jnp.asarray([[1.0, 2.0]]), Recorded(jnp.asarray([3.0])), {"a b,c": jnp.asarray([1.0])}],
)
def test_a_bare_array_and_a_bare_record_come_back(tmp_path, hyper, ending):
    Schedule([0], hyper).save(tmp_path / f"s{ending}")
    assert eqx.tree_equal(Schedule.load(tmp_path / f"s{ending}"), Schedule([0], hyper))


def test_fit_replays_it_through_a_loss_that_is_told_the_step():
    schedule = Schedule([0, 2], {"rate": Bounded(jnp.asarray([0.25, 0.5]), 0.0, 1.0)})

    def loss(model, batch, *, key, step):
        return schedule.at(step)["rate"].value * model, {}

    model, _ = pb.train.fit(
        jnp.asarray(0.0), loss, optimiser=optax.sgd(1.0), steps=5, key=jax.random.key(0)
    )
    np.testing.assert_allclose(model, -(2 * 0.25 + 3 * 0.5))


@pytest.mark.parametrize(
    ("steps", "hyper", "said"),
    [
        ([0, 0], jnp.zeros(2), "must rise"),
        ([-1, 0], jnp.zeros(2), "must rise from 0"),
        ([0.5], jnp.zeros(1), "whole numbers"),
        ([], jnp.zeros(0), "whole numbers"),
        ([0, 1], jnp.zeros(3), r"leading axis for the 2 steps; got one of shape \(3,\)"),
        ([0, 1], jnp.zeros(()), "leading axis"),
        ([0], jnp.asarray([jnp.nan]), "finite"),
        ([0], {}, "it has none"),
    ],
)
def test_what_is_no_schedule_is_refused(steps, hyper, said):
    with pytest.raises(ValueError, match=said):
        Schedule(steps, hyper)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("s.txt", "", "must end in .json or .csv"),
        ("s.json", None, "no such file"),
        ("s.json", '{"format": "pullback schedule", "steps": [0', "cannot be read as JSON"),
        ("s.json", "[1, 2]", "is no schedule"),
        ("s.json", '{"format": "pullback schedule", "steps": [0]}', 'lacks "hyper"'),
        ("s.json", '{"format": "pullback schedule", "hyper": {"a": [1]}}', '"steps" must be numb'),
        (
            "s.json",
            '{"format": "pullback schedule", "steps": [0, 1], "hyper": {"a": [1, [2]]}}',
            "'a' must be numbers",
        ),
        (
            "s.json",
            '{"format": "pullback schedule", "steps": [0, 1], "hyper": {"a": [1.0]}}',
            "s.json: each array of `hyper` must have",
        ),
        ("s.csv", "step,a\n0,0.1\n1,0.", "no end"),
        ("s.csv", "step,a\n0,0.1\n1\n", "cannot be read as CSV"),
        ("s.csv", "", "cannot be read as CSV"),
        ("s.csv", "step,a\n0,0.1\n1,\n", "column 'a' must have a number on every line"),
        ("s.csv", "step,a\n0,0.1\n1,x\n", "column 'a' must have a number"),
        ("s.csv", "steps,a\n0,0.1\n", "lacks a column 'step'"),
        ("s.csv", "step\n0\n", "no column beside"),
        ("s.csv", "step,a[0],a[2]\n0,1.0,1.0\n", "not those of one array"),
        ("s.csv", "step,a[0],a\n0,1.0,1.0\n", "not those of one array"),
        ("s.csv", "step,a,a\n0,1.0,1.0\n", "is there twice"),
        ("s.csv", "step,a[x]\n0,1.0\n", "no name of a column"),
        ("s.csv", "step,a\n1,1.0\n0,1.0\n", "must rise"),
    ],
)
def test_a_file_that_is_damaged_or_none_of_a_schedule_is_refused(tmp_path, name, text, said):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        Schedule.load(tmp_path / name)


@pytest.mark.parametrize("name", ["a.b", "7", "", "step", "value", "a[0]", ("a", 1)])
def test_a_name_that_no_file_could_give_back_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be the name"):
        Schedule([0], {name: jnp.zeros(1)}).save(tmp_path / "s.csv")
