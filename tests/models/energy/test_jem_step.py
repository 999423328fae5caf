"""The training step and its buffer: mechanics that are exact, and a way back from explosions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.models.energy import (
    JEM,
    SGLD,
    BoxStart,
    JEMStep,
    ReplayBuffer,
    fit_jem,
)
from pullback.sampling import langevin
from pullback.train import Stream, TrainingError, iterate


class Quadratic(eqx.Module):
    """Two classes with logits -a |x - m|^2 / 2, so that a step can be written out by hand."""

    m: jax.Array
    a: jax.Array

    def __call__(self, x):
        return -self.a * jnp.sum(jnp.square(x[None] - self.m), axis=1) / 2


QUADRATIC = Quadratic(jnp.array([[1.0, 0.0], [-1.0, 0.5]]), jnp.asarray(0.8))


@pytest.fixture
def buffer(key):
    return ReplayBuffer.init(BoxStart((2,)), 40, key=jr.fold_in(key, 1))


def batch_of(key, n=16):
    return jr.normal(key, (n, 2)), jr.randint(key, (n,), 0, 2)


# The buffer.


def test_rows_that_were_not_drawn_stay_and_the_others_are_what_was_written(buffer, key):
    x, rows = buffer.draw(10, reinit=0.0, key=key)
    np.testing.assert_array_equal(x, buffer.data[rows])
    new = buffer.write(rows, 100 + x)
    changed = np.flatnonzero(np.any(new.data != buffer.data, axis=1))
    assert set(changed) == set(np.asarray(rows).tolist())
    np.testing.assert_array_equal(new.data[rows], 100 + x)


def test_the_share_that_starts_afresh_is_what_was_asked_for(key):
    marked = ReplayBuffer(jnp.full((50, 2), 9.0), BoxStart((2,)))
    n = 4000
    x, _ = marked.draw(n, key=key)
    fresh = np.mean(np.all(np.asarray(x) != 9, axis=1))
    assert abs(fresh - 0.05) < 4 * np.sqrt(0.05 * 0.95 / n)
    assert np.all(np.all(np.asarray(x) != 9, axis=1) == np.any(np.asarray(x) != 9, axis=1))
    np.testing.assert_array_less(abs(x[x != 9]), 1)
    assert not np.any(np.asarray(marked.draw(n, reinit=1.0, key=key)[0]) == 9)
    # Every row is as likely as any other: a chi-square of 49 degrees of freedom.
    counts = np.bincount(marked.draw(n, key=key)[1], minlength=50)
    assert np.sum((counts - 80) ** 2 / 80) < 49 + 4 * np.sqrt(98)


def test_labels_draw_from_their_slices(key):
    buffer = ReplayBuffer.init(BoxStart((1,)), 30, classes=3, key=key)
    labels = jr.randint(key, (200,), 0, 3)
    x, rows = buffer.draw(200, reinit=0.0, labels=labels, key=key)
    np.testing.assert_array_equal(rows // 10, labels)
    np.testing.assert_array_equal(x, buffer.data[rows])
    assert set(np.asarray(rows).tolist()) == set(range(30))


# The step.


def test_a_step_is_what_the_paper_writes(buffer, key):
    """Sampler, loss and update by hand: the densities in closed form, SGD, no optimiser's state."""
    step = JEMStep(
        optax.sgd(0.1), sampler=SGLD(3, step_size=0.2, noise=0.0), density_weight=0.7,
        label_weight=0.4, l2_energy=0.05, input_noise=0.0, reinit=0.0,
    )  # fmt: skip
    state = step.init(JEM(QUADRATIC), buffer)
    x, y = batch_of(key)
    new, metrics = eqx.filter_jit(step)(state, (x, y), key=key)
    rows = np.flatnonzero(np.any(new.buffer.data != buffer.data, axis=1))
    assert 8 <= len(rows) <= 16
    lse = lambda q, x: jax.nn.logsumexp(
        -q.a * jnp.sum((x[:, None] - q.m[None]) ** 2, axis=2) / 2, axis=1
    )
    moved = buffer.data[rows]
    for _ in range(3):
        moved = moved + 0.2 * jax.grad(lambda x: jnp.sum(lse(QUADRATIC, x)))(moved)
    np.testing.assert_allclose(new.buffer.data[rows], moved, rtol=1e-10)
    # The rows come in an order, and as often, as they were drawn: ask the step for its own chains.
    chains, _ = step.sample(state, 16, key=jr.split(key, 3)[2])
    assert {tuple(r) for r in np.round(chains, 9).tolist()} == {
        tuple(r) for r in np.round(moved, 9).tolist()
    }

    def loss(q):
        data, sampled = lse(q, x), lse(q, chains)
        picked = -q.a * jnp.sum((x - q.m[y]) ** 2, axis=1) / 2
        square = jnp.mean(data**2) + jnp.mean(sampled**2)
        return 0.7 * (sampled.mean() - data.mean()) - 0.4 * (picked - data).mean() + 0.025 * square

    value, slope = jax.value_and_grad(loss)(QUADRATIC)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-10)
    gap = jnp.mean(lse(QUADRATIC, x)) - jnp.mean(lse(QUADRATIC, chains))
    np.testing.assert_allclose(metrics["gap"], gap, rtol=1e-9)
    for got, old, g in zip(*map(jax.tree.leaves, (new.model, QUADRATIC, slope)), strict=True):
        np.testing.assert_allclose(got, old - 0.1 * g, rtol=1e-9)
    assert not bool(metrics["diverged"])


def test_chains_of_a_sliced_buffer_climb_their_own_class(key):
    buffer = ReplayBuffer.init(BoxStart((2,)), 40, classes=2, key=key)
    step = JEMStep(optax.sgd(0.0), sampler=SGLD(200, step_size=0.2, noise=0.0), reinit=0.0)
    _, new = jax.jit(lambda k: step.sample(step.init(JEM(QUADRATIC), buffer), 60, key=k))(key)
    moved = np.any(new.data != buffer.data, axis=1)
    want = np.repeat(QUADRATIC.m, 20, axis=0)
    np.testing.assert_allclose(new.data[moved], want[moved], atol=1e-6)
    assert moved.sum() > 20


def test_without_a_density_it_is_cross_entropy_and_the_buffer_stays(buffer, key):
    step = JEMStep(optax.sgd(0.1), density_weight=0.0, input_noise=0.0)
    state = step.init(JEM(QUADRATIC), buffer)
    x, y = batch_of(key)
    new, metrics = step(state, (x, y), key=key)
    np.testing.assert_array_equal(new.buffer.data, buffer.data)

    def loss(q):
        return -jnp.mean(jax.nn.log_softmax(jax.vmap(q)(x))[jnp.arange(16), y])

    slope = jax.grad(loss)(QUADRATIC)
    np.testing.assert_allclose(new.model.classifier.m, QUADRATIC.m - 0.1 * slope.m, rtol=1e-9)
    np.testing.assert_allclose(metrics["cross_entropy"], loss(QUADRATIC), rtol=1e-9)


def test_the_density_is_of_the_unlabelled_stream_alone(buffer, key):
    step = JEMStep(optax.sgd(0.1), input_noise=0.0)
    state = step.init(JEM(QUADRATIC), buffer)
    labelled, other = batch_of(key), jr.normal(jr.fold_in(key, 5), (7, 2))
    _, metrics = step(state, {"labelled": labelled, "unlabelled": other}, key=key)
    np.testing.assert_allclose(
        metrics["log_density"], jnp.mean(jax.vmap(JEM(QUADRATIC).log_density)(other)), rtol=1e-12
    )
    want = -jnp.mean(jax.nn.log_softmax(jax.vmap(QUADRATIC)(labelled[0]))[
        jnp.arange(16), labelled[1]])  # fmt: skip
    np.testing.assert_allclose(metrics["cross_entropy"], want, rtol=1e-12)


# Explosions.


def test_a_run_that_explodes_goes_back_to_model_and_chains_that_were_well(buffer, key):
    """A learning rate so large that energies explode: the state is the last snapshot, exactly."""
    x, y = batch_of(key, 32)
    sampler = SGLD(5, step_size=0.1, noise=None)
    calm = JEMStep(optax.sgd(1e-3), sampler=sampler)
    wild = JEMStep(optax.sgd(1e4), sampler=sampler, limit=50.0)
    state = calm.init(JEM(QUADRATIC), buffer)
    stream = Stream((x, y), 8)
    before, info = iterate(calm, state, stream, steps=4, log_every=2, progress=False, key=key)
    assert int(info.rollbacks) == 0
    with pytest.raises(TrainingError, match="diverged 3 times") as caught:
        iterate(
            wild,
            before,
            stream,
            steps=10,
            log_every=5,
            rollbacks=2,
            progress=False,
            key=jr.split(key)[0],
        )
    assert int(caught.value.info.rollbacks) == 3
    for got, want in zip(
        jax.tree.leaves(eqx.filter(caught.value.model, eqx.is_array)),
        jax.tree.leaves(eqx.filter(before, eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)


def test_energies_that_explode_while_finite_are_called_diverged(buffer, key):
    far = ReplayBuffer(buffer.data + 200, buffer.start)
    step = JEMStep(optax.sgd(0.0), sampler=SGLD(1, step_size=1e-9, noise=0.0), reinit=0.0)
    _, metrics = step(step.init(JEM(QUADRATIC), far), batch_of(key), key=key)
    assert bool(jnp.isfinite(metrics["loss"]))
    assert bool(metrics["diverged"])


# The whole.


@pytest.mark.slow
def test_unlabelled_examples_make_a_density_that_few_labels_do_not(key):
    """Two Gaussians, 3 labels each: the fitted density against the exact one, in nats."""
    generator = np.random.default_rng(0)
    centres = np.array([[-1.5, 0.0], [1.5, 0.0]])
    y = np.arange(6) % 2
    x = centres[y] + 0.5 * generator.normal(size=(6, 2))
    which = generator.integers(2, size=600)
    more = centres[which] + 0.5 * generator.normal(size=(600, 2))
    start = Quadratic(jnp.array([[-0.5, 0.3], [0.5, -0.3]]), jnp.asarray(1.0))
    step = JEMStep(optax.adam(2e-2), sampler=SGLD(10, step_size=0.05, noise=None), input_noise=0.0)
    model, info = fit_jem(
        start, x, y, unlabelled=more, step=step, steps=400, batch_size=128, log_every=200,
        progress=False, key=key,
    )  # fmt: skip
    assert int(info.rollbacks) == 0
    found = model.classifier
    # The exact parameters are the centres and 1 / 0.25 = 4; steps of 0.05 make the chains' variance
    # larger than the model's by 1 / (1 - 0.05 * 4 / 2) = 1.11, for which the fit makes up.
    np.testing.assert_allclose(found.m, centres, atol=0.15)
    assert 3.6 < float(found.a) < 5.2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"y": np.zeros(8, int)}, "`y` must have two classes or more, and is 0 in every row"),
        ({"y": np.arange(8) % 3}, "`y` must be classes from 0 to 1, .* got 0 to 2"),
        ({"y": np.arange(8) % 2 - 1}, "`y` must be classes from 0 to 1, .* got -1 to 0"),
        ({"y": np.arange(7) % 2}, "`y` must be 8 labels, one for each row of `x`"),
        ({"x": np.full((8, 2), np.nan)}, r"`x` must be finite, and 16 .* is nan at \(0, 0\)"),
        ({"unlabelled": np.zeros((5, 3))}, "`unlabelled` must hold examples of one shape"),
        ({"unlabelled": np.full((5, 2), np.inf)}, "`unlabelled` must be finite"),
        ({"classifier": lambda x: x[:1]}, r"`classifier` must give logits of shape \[K\]"),
    ],
)
def test_data_that_does_not_fit_is_refused(wrong, message, key):
    given = {"classifier": QUADRATIC, "x": np.ones((8, 2)), "y": np.arange(8) % 2, **wrong}
    with pytest.raises(ValueError, match=message):
        fit_jem(**given, steps=1, key=key)


def test_settings_that_make_no_sense_are_refused(buffer, key):
    with pytest.raises(ValueError, match="`l2_energy` must be 0 or more, got -1"):
        JEMStep(optax.sgd(0.1), l2_energy=-1.0)
    with pytest.raises(ValueError, match="`limit` must be above 0, got 0"):
        JEMStep(optax.sgd(0.1), limit=0.0)
    with pytest.raises(ValueError, match="`reinit` must lie in"):
        buffer.draw(2, reinit=1.5, key=key)
    with pytest.raises(ValueError, match="`labels` need a buffer with `classes`"):
        buffer.draw(2, labels=jnp.zeros(2, int), key=key)
    with pytest.raises(ValueError, match="a multiple of `classes`, got 10 and 3"):
        ReplayBuffer.init(BoxStart((2,)), 10, classes=3, key=key)
    with pytest.raises(ValueError, match=r"`data` must hold points of shape \(2,\)"):
        ReplayBuffer(jnp.zeros((4, 3)), BoxStart((2,)))


def test_the_settings_of_the_sampler_are_those_of_langevin(key):
    x = jr.normal(key, (5, 2))
    log_prob = JEM(QUADRATIC).log_density
    want, _ = langevin(log_prob, x, steps=20, step_size=1.0, noise=0.01, key=key)
    np.testing.assert_array_equal(SGLD()(log_prob, x, key=key), want)
