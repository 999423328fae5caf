"""The recipe `synaptic-intelligence`: its own arithmetic."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.data import Labelled, Split
from pullback.recipes.synaptic_intelligence import Config, mnist, models
from pullback.runs import Context

CONFIG = dataclasses.replace(
    Config(), tasks=3, classes=2, train=40, test=12, batch_size=5, looked_at=10, path_images=10
)


def images(n, start):
    x = np.arange(start, start + 4 * n, dtype=np.float32).reshape(n, 2, 2)
    return Labelled(x, (np.arange(n) % 6).astype(np.int32))


DATA = Split(images(60, 0), images(30, 1000))


def test_the_loss_and_the_accuracy_are_among_the_classes_that_an_image_may_be_of():
    logits = jnp.asarray([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    y = jnp.asarray([2, 2])
    net = lambda x: logits[x[0].astype(int)]
    for among in (np.ones((2, 3), bool), np.tile([False, True, True], (2, 1))):
        batch = models.Images(jnp.asarray([[0.0], [1.0]]), y, jnp.asarray(among))
        kept = jnp.where(among, logits, -jnp.inf)
        want = -jnp.mean(jax.nn.log_softmax(kept)[jnp.arange(2), y])
        loss, _ = models.cross_entropy(net, batch, key=jax.random.key(0))
        np.testing.assert_allclose(loss, want, rtol=1e-6)
        right = np.mean(np.argmax(kept, axis=1) == np.asarray(y))
        assert float(models.accuracy(net, batch)) == right
    assert right == 0.5


def test_permuted_tasks_are_of_the_same_images_in_another_order():
    tasks = models.permuted(CONFIG, DATA, 3)
    assert len(tasks) == 3
    for train, test in tasks:
        assert train.x.shape == (40, 4)
        assert test.x.shape == (12, 4)
        assert train.among.all()
        np.testing.assert_array_equal(train.y, tasks[0][0].y)
        np.testing.assert_array_equal(np.sort(train.x), np.sort(tasks[0][0].x))
    assert (tasks[1][0].x != tasks[0][0].x).any()
    other = models.permuted(CONFIG, DATA, 4)
    assert {*other[0][0].x.ravel()} != {*tasks[0][0].x.ravel()}


@pytest.mark.parametrize("told", [False, True])
def test_divided_tasks_are_of_other_classes_and_one_size(told):
    tasks = models.divided(CONFIG, DATA, 3, told)
    assert len({len(train.y) for train, _ in tasks}) == 1
    for number, (train, test) in enumerate(tasks):
        classes = {2 * number, 2 * number + 1}
        for part in (train, test):
            assert {*part.y.tolist()} == classes
            among = np.flatnonzero(part.among[0]).tolist()
            assert among == (sorted(classes) if told else list(range(6)))
            assert (part.among == part.among[0]).all()


def test_adam_goes_on_from_one_permutation_to_the_next_where_that_is_set(monkeypatch):
    said = []

    def fit_tasks(*given, reset_inner, **rest):
        said.append(reset_inner)
        return None, None, types.SimpleNamespace(before=None, metrics=None)

    monkeypatch.setattr(models, "fit_tasks", fit_tasks)
    monkeypatch.setattr(Context, "training", lambda self, name: {})
    context = object.__new__(Context)
    tasks = {3: models.permuted(CONFIG, DATA, 3)}
    for anew in (True, False):
        config = dataclasses.replace(CONFIG, anew=anew)
        for name in ("permutations", "classes"):
            models.one_after_another(config, context, name, models.WAYS[:1], tasks)
    assert said == [True, True, False, True]
    assert [mnist.PRESETS[name].anew for name in ("desk", "paper")] == [True, False]


def test_what_is_refused():
    for wrong in ({"train": 3}, {"tasks": 1}, {"looked_at": 41}, {"path_images": 50}):
        with pytest.raises(ValueError, match="must be at least"):
            dataclasses.replace(CONFIG, **wrong)
    with pytest.raises(ValueError, match="train must be at most 60, got 70"):
        models.permuted(dataclasses.replace(CONFIG, train=70), DATA, 0)
    with pytest.raises(ValueError, match="batch_size must be at most"):
        models.divided(dataclasses.replace(CONFIG, batch_size=30), DATA, 0, False)
