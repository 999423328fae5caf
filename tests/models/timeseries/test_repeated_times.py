"""Gradients where a series' first observation lies at the start of its solve, as it always does."""

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from pullback import data, ode, train
from pullback.models import timeseries as ts

# Slow: a minute of compiling.
EPS = 1e-4
WAYS = [
    pytest.param(eqx.filter_jit, id="compiled"),
    pytest.param(lambda f: f, id="eagerly", marks=pytest.mark.slow),
]


def check_slope(part, loss, rtol, *, eagerly=False):
    """The gradient along a direction is the central difference of the loss along it."""
    flat, back = ravel_pytree(part)
    direction = jr.normal(jr.key(7), flat.shape, flat.dtype)
    along = lambda s: loss(back(flat + s * direction))
    both = eqx.filter_jit(jax.value_and_grad(along))
    (low, _), (_, slope), (high, _) = (both(jnp.asarray(s)) for s in (-EPS, 0.0, EPS))
    np.testing.assert_allclose(slope, (high - low) / (2 * EPS), rtol=rtol)
    if eagerly:
        np.testing.assert_allclose(jax.grad(along)(0.0), slope, rtol=1e-6)


@pytest.mark.parametrize(("anchor", "poisson"), [("first", 2), ("last", 0)])
def test_the_gradient_of_a_latent_ode_by_its_encoder(anchor, poisson):
    """At the settings that users get, steps adapted to the default tolerances; one observation."""
    sizes: Any = {"latent": 2, "encoder_size": 3, "gate_width": 4, "width": 5}
    model = ts.latent_ode(
        1, **sizes, encoder="rnn", poisson=poisson, anchor=anchor, dtype=float, key=jr.key(0)
    )
    arrays, rest = eqx.partition(model.encoder, eqx.is_inexact_array)
    one, many = ([0.4], [1.1]), ([0.0, 0.2, 0.7, 1.0], [0.3, 0.1, -0.4, -0.8])
    for series in ([one], [one, many]):
        observed = jax.tree.map(jnp.asarray, ts.observations(data.irregular_series(series)))

        def loss(arrays, observed=observed):
            whole = eqx.tree_at(lambda m: m.encoder, model, eqx.combine(arrays, rest))
            return jnp.sum(whole.elbo(observed, key=jr.key(1)))

        # Eagerly for one observation, which had no gradient at all.
        check_slope(arrays, loss, rtol=1e-2, eagerly=series == [one] and poisson == 2)


@pytest.mark.parametrize("way", WAYS)
def test_fixed_steps_with_an_adjoint_of_diffrax(way):
    """Its gradient is that of `Replay`, though every solve repeats the first time."""
    sizes: Any = {"latent": 2, "encoder_size": 3, "gate_width": 4, "width": 5}
    model = ts.latent_ode(1, **sizes, encoder="rnn", steps=5, dtype=float, key=jr.key(0))
    series = [([0.4], [1.1]), ([0.0, 0.2, 0.7, 1.0], [0.3, 0.1, -0.4, -0.8])]
    observed = ts.observations(data.irregular_series(series))

    def gradient(adjoint, way):
        own = dataclasses.replace(model, adjoint=adjoint)
        loss = lambda model: jnp.sum(model.elbo(observed, key=jr.key(1)))
        return way(eqx.filter_value_and_grad(loss))(own)

    value, exact = gradient(None, eqx.filter_jit)
    same, found = gradient(diffrax.RecursiveCheckpointAdjoint(), way)
    np.testing.assert_allclose(same, value, rtol=1e-9)
    pairs = zip(*(jax.tree.leaves(g.encoder) for g in (exact, found)), strict=True)
    assert max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs) < 1e-8
    assert any(float(jnp.max(jnp.abs(a))) > 0.1 for a in jax.tree.leaves(exact.encoder))


def test_the_gradient_of_events_the_first_of_which_is_at_the_start():
    """The learned state at `t0` sets the intensity there, and an event there counts."""
    process = ts.PoissonProcess(1, latent=2, width=4, dtype=float, key=jr.key(0))
    times = jnp.array([[0.0, 0.4, 1.0], [0.0, 0.0, 0.0]])
    mask = jnp.array([[True, True, False], [True, False, False]])[..., None]

    def loss(start):
        moved = eqx.tree_at(lambda p: p.start, process, start)
        return jnp.sum(moved.log_prob(times, mask)[0])

    check_slope(process.start, loss, rtol=1e-3, eagerly=True)


@pytest.mark.slow
def test_training_on_series_of_two_points_ends_where_the_continuous_adjoint_does():
    """Whose backward pass never lost the start: without it the bound stays nats below."""
    starts = np.random.default_rng(0).normal(size=12)
    series = data.irregular_series([([0.0, 1.0], [v, v / np.e]) for v in starts])
    observed, optimiser = ts.observations(series), optax.adam(0.05)
    sizes: Any = {"latent": 2, "encoder_size": 3, "gate_width": 4, "width": 5}
    model = ts.latent_ode(1, **sizes, encoder="rnn", dtype=float, key=jr.key(0))
    loss = lambda model, batch, *, key: (-jnp.mean(model.elbo(batch, key=key)), {})

    def ends(adjoint):
        own = dataclasses.replace(model, adjoint=adjoint)
        _, info = train.fit(
            own, loss, observed, optimiser=optimiser, steps=25, batch_size=12, log_every=25,
            key=jr.key(1),
        )  # fmt: skip
        return info.history["loss"][-1]

    np.testing.assert_allclose(ends(None), ends(ode.Backsolve()), rtol=1e-3)

    def ends_by_hand(adjoint, way):
        own = dataclasses.replace(model, adjoint=adjoint)
        both = way(eqx.filter_value_and_grad(lambda model, key: loss(model, observed, key=key)[0]))
        state = optimiser.init(eqx.filter(own, eqx.is_inexact_array))
        value = jnp.nan
        for key in jr.split(jr.key(1), 25):
            value, gradient = both(own, key)
            own, state = train.apply_gradient(optimiser, gradient, state, own)
        return value

    eagerly = ends_by_hand(None, lambda f: f)
    np.testing.assert_allclose(eagerly, ends_by_hand(ode.Backsolve(), eqx.filter_jit), rtol=1e-3)
