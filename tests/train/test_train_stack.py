"""Many models at once, against one at a time."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.train import fit

ADAM = optax.adam(0.05)
DATA = (jnp.asarray(np.random.default_rng(0).normal(size=(10, 3))), jnp.arange(10.0))


class Weighted(eqx.Module):
    weight: jax.Array

    def __call__(self, w, batch, *, key, step):
        x, y = batch
        noise = jr.normal(key, y.shape, y.dtype)
        error = jnp.mean((x @ w - y - 0.1 * noise) ** 2)
        return error + self.weight * jnp.sum(w**2), {"error": error, "at": step}


def test_a_stack_is_the_same_as_each_by_itself():
    keys, weights = jr.split(jr.key(0), 3), jnp.array([0.0, 0.5, 2.0])
    start = jr.normal(jr.key(1), (3, 3))
    found, info = fit(
        start, Weighted(weights), DATA, optimiser=ADAM, steps=25, batch_size=4, log_every=10,
        key=keys,
    )  # fmt: skip
    assert info.history["step"].tolist() == [10, 20, 25]
    assert info.good.all()
    shared, _ = fit(
        start, Weighted(weights[1]), DATA, optimiser=ADAM, steps=25, batch_size=4, key=keys
    )
    np.testing.assert_allclose(shared[1], found[1], rtol=1e-12)
    for i in range(3):
        alone, told = fit(
            start[i], Weighted(weights[i]), DATA, optimiser=ADAM, steps=25, batch_size=4,
            log_every=10, key=keys[i],
        )  # fmt: skip
        np.testing.assert_allclose(found[i], alone, rtol=1e-10)
        for name in ("loss", "error", "at"):
            expected = [line[name] for line in told.lines()]
            np.testing.assert_allclose(info.history[name][:, i], expected, rtol=1e-10)


def test_one_that_fails_is_left_in_its_last_good_state():
    def loss(w, batch, *, key):
        # The second model's square root leaves the numbers after some steps down.
        return jnp.sqrt(w) + 0 * jnp.sum(batch), {}

    start = jnp.array([100.0, 0.2])
    found, info = fit(
        start, loss, jnp.zeros(2), optimiser=optax.sgd(0.1), steps=6, batch_size=1, log_every=1,
        key=jr.split(jr.key(0)),
    )  # fmt: skip
    assert info.good.tolist() == [True, False]
    assert np.isfinite(info.history["loss"][:, 0]).all()
    good = [w := 0.2]
    while (w := w - 0.05 / np.sqrt(w)) > 0:
        good.append(w)
    # The step that leaves the numbers is seen by the next one, at the negative parameter.
    np.testing.assert_allclose(found[1], w, rtol=1e-12)
    finite = np.isfinite(info.history["loss"][:, 1])
    assert finite.tolist() == [i < len(good) for i in range(6)]


def test_a_solve_that_failed_is_as_bad_as_a_loss_that_is_not_finite():
    class Fails(eqx.Module):
        at: jax.Array

        def __call__(self, w, batch, *, key, step):
            return jnp.sum(w) + 0 * jnp.sum(batch), {"result": jnp.where(step == self.at, 3, 0)}

    found, info = fit(
        jnp.zeros(2), Fails(jnp.asarray([9, 2], jnp.int32)), jnp.zeros(2),
        optimiser=optax.sgd(1.0), steps=4, batch_size=1, log_every=2, key=jr.split(jr.key(0)),
    )  # fmt: skip
    assert info.good.tolist() == [True, False]
    assert found.tolist() == [-4, -2]


def test_arguments_that_do_not_fit_are_named():
    loss = lambda w, batch, *, key: (jnp.sum(w), {})
    run = lambda models, keys, **more: fit(
        models, loss, jnp.zeros(3), optimiser=ADAM, key=keys,
        **{"steps": 1, "batch_size": 1, **more},
    )  # fmt: skip
    keys = jr.split(jr.key(0))
    with pytest.raises(ValueError, match="one row for each of the 2 keys, got 3"):
        run(jnp.zeros(3), keys)
    with pytest.raises(ValueError, match="from 1 to 3, the number of examples, got 4"):
        run(jnp.zeros(2), keys, batch_size=4)
    with pytest.raises(ValueError, match="`steps` must be at least 1"):
        run(jnp.zeros(2), keys, steps=0)
    with pytest.raises(ValueError, match=r"row for each of the 2 keys.*\(3,\)"):
        fit(jnp.zeros((2, 3)), Weighted(jnp.ones(3)), DATA, optimiser=ADAM, steps=1,
                  batch_size=1, key=keys)  # fmt: skip
    with pytest.raises(ValueError, match="`model` must be a PyTree of arrays with the same"):
        run((jnp.zeros(2), jnp.zeros(3)), keys)
