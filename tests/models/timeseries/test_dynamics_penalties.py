"""Penalties on a latent ODE's dynamics, against the closed form of a linear field."""

import dataclasses
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback import data, ode
from pullback.models import timeseries as ts

pytestmark = pytest.mark.usefixtures("promotion")

RATES = np.array([0.7, -0.4])
MEAN, STD = np.array([1.2, -0.8]), np.array([0.3, 0.5])
END = 1.5


class Known(eqx.Module):
    def __call__(self, times, values, mask, *, anchor):
        return ts.Posterior(jnp.asarray(MEAN), jnp.asarray(STD))


class Linear(eqx.Module):
    rates: jax.Array

    def __call__(self, t, z, args):
        return self.rates * z


def model_of(**options: Any):
    settings: dict[str, Any] = {"steps": 16} | options
    return ts.LatentODE(
        Known(), Linear(jnp.asarray(RATES)), lambda z: z[:1], ts.Normal(1.0), **settings
    )


def batch_of(times=(0.0, 0.4, END)):
    series = data.irregular_series([(list(times), [0.0] * len(times))])
    return ts.TrainingSeries(jax.tree.map(jnp.asarray, ts.observations(series)))


def energy(z, span, order=1):
    """The integral of the mean square of the K-th derivative, which is a^K z e^{a t}."""
    grown = np.square(RATES**order) * np.expm1(2 * RATES * span) / (2 * RATES)
    return (grown * np.square(z)).mean(axis=-1)


@pytest.mark.parametrize("anchor", ["first", "last"])
@pytest.mark.parametrize("compiled", [False, True])
def test_penalties_are_those_of_the_closed_form(anchor, compiled, key):
    """Backwards from the last time too, where the integral would otherwise be negative."""
    span = END if anchor == "first" else -END
    model, batch = model_of(anchor=anchor), batch_of()
    loss = ts.LatentODELoss(
        penalties=(ode.KineticEnergy(), ode.TaylorEnergy(2)), penalty_weight=(0.3, 2.0), samples=3
    )
    plain = ts.LatentODELoss(samples=3)
    score = (lambda loss: eqx.filter_jit(loss)) if compiled else (lambda loss: loss)
    value, metrics = score(loss)(model, batch, key=key)
    z0 = model.elbo_terms(batch.observed, samples=3, key=key).z0[:, 0]
    expected = [abs(energy(z0, span, order).mean()) for order in (1, 2)]
    found = [float(metrics[f"penalty_{place}"]) for place in (0, 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    without, few = score(plain)(model, batch, key=key)
    assert "penalty_0" not in few
    np.testing.assert_allclose(value - without, 0.3 * expected[0] + 2 * expected[1], rtol=1e-6)


def test_the_gradient_of_a_penalty_is_that_of_the_closed_form(key):
    """By the rates of the field, at the steps that users get: adapted, per series."""
    batch = batch_of()
    model = model_of(steps=None, rtol=1e-8, atol=1e-8)
    z0 = np.asarray(model.elbo_terms(batch.observed, samples=2, key=key).z0[:, 0])

    def slope(penalties):
        loss = ts.LatentODELoss(penalties=penalties, penalty_weight=0.5, samples=2)
        return eqx.filter_jit(eqx.filter_grad(lambda m: loss(m, batch, key=key)[0]))(model)

    found = slope((ode.KineticEnergy(),)).field.rates - slope(()).field.rates
    # d/da of a (e^{2 a T} - 1) / 2 z^2, halved by the mean over two entries and by the weight.
    by_rate = np.expm1(2 * RATES * END) / 2 + RATES * END * np.exp(2 * RATES * END)
    np.testing.assert_allclose(found, 0.25 * by_rate * np.square(z0).mean(axis=0), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"steps": None}, {"steps": None, "anchor": "last"}])
def test_weights_of_zero_change_nothing(options, key):
    """Neither the loss nor a step, to the bit, for what rides along has no error of its own."""
    sizes: Any = {"latent": 2, "encoder_size": 3, "gate_width": 4, "width": 4}
    model = ts.latent_ode(
        1, **sizes, encoder="rnn", poisson=0 if "anchor" in options else 1, **options, key=jr.key(0)
    )
    batch = batch_of()

    def found(penalties):
        loss = ts.LatentODELoss(penalties=penalties, penalty_weight=0.0)
        both = eqx.filter_value_and_grad(lambda m: loss(m, batch, key=key)[0])
        return jax.tree.leaves(eqx.filter_jit(both)(model))

    (loss, *slopes), (same, *others) = found(()), found((ode.KineticEnergy(),))
    assert float(loss) == float(same)
    for one, two in zip(slopes, others, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-10, atol=1e-14)


@pytest.mark.slow
def test_a_deferred_penalty_gives_the_same_gradient_and_keeps_the_poisson_head(key):
    """`DeferredPenalty` leaves out the penalties, and not the integral of the intensity."""
    model = ts.latent_ode(
        1, latent=2, encoder_size=3, gate_width=4, width=4, encoder="rnn", poisson=1, steps=2,
        key=jr.key(0),
    )  # fmt: skip
    loss, batch = ts.LatentODELoss(penalties=(ode.KineticEnergy(),)), batch_of()
    both = eqx.filter_jit(
        eqx.filter_value_and_grad(lambda m: loss(m, batch, key=key), has_aux=True)
    )
    (_, full), slope = both(model)
    (_, deferred), quiet = both(dataclasses.replace(model, adjoint=ode.DeferredPenalty()))
    for one, two in zip(*(jax.tree.leaves(each) for each in (slope, quiet)), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(deferred["log_times"], full["log_times"], rtol=1e-6)
    assert float(full["penalty_0"]) > 0 == float(deferred["penalty_0"])


def test_weights_are_one_for_each_penalty_or_one_for_all():
    both = (ode.KineticEnergy(), ode.TaylorEnergy(2))
    weights = ts.LatentODELoss(penalties=both, penalty_weight=0.5).penalty_weight
    assert [float(weight) for weight in weights] == [0.5, 0.5]
    with pytest.raises(ValueError, match="one for each of the 2 penalties, got"):
        ts.LatentODELoss(penalties=both, penalty_weight=(1.0, 2.0, 3.0))
    assert ts.LatentODELoss().penalty_weight == ()
    with pytest.raises(
        TypeError, match=r"a tuple of penalties, got a KineticEnergy.*`\(penalty,\)`"
    ):
        inspect.unwrap(ts.LatentODELoss.__init__)(None, penalties=ode.KineticEnergy())
