"""A neural CDE beside the same in Diffrax: its field along its path by a control term."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.models import timeseries as ts

TIMES, STEPS = 6, 3


def solve(field, path, z0, at):
    term = diffrax.ControlTerm(lambda t, z, args: field(z), path).to_ode()
    return diffrax.diffeqsolve(
        term, diffrax.Bosh3(), at[0], at[-1], None, z0, stepsize_controller=diffrax.StepTo(at)
    ).ys[-1]  # pyrefly: ignore


def cubic(field, times, told, z0):
    path = diffrax.CubicInterpolation(times, diffrax.backward_hermite_coefficients(times, told))
    places = jnp.arange((TIMES - 1) * STEPS + 1) / STEPS
    return solve(field, path, z0, jnp.interp(places, jnp.arange(1.0 * TIMES), times))


def kinked(field, times, told, z0):
    # A piece at a time: at a kink a step of Diffrax's takes the slope from the left.
    def piece(z, ends):
        path = diffrax.LinearInterpolation(*ends)
        return solve(field, path, z, jnp.linspace(*ends[0], STEPS + 1)), None

    pairs = tuple(jnp.stack([a[:-1], a[1:]], axis=1) for a in (times, told))
    return jax.lax.scan(piece, z0, pairs)[0]


@pytest.mark.parametrize("interpolation", ["linear", "hermite"])
def test_the_outputs_and_their_gradient_are_those_of_diffrax_with_a_control_term(interpolation):
    random = np.random.default_rng(0)
    times = jnp.asarray(np.cumsum(random.uniform(0.3, 0.6, TIMES)))
    values = jnp.asarray(random.normal(size=(TIMES, 2)))
    mask = jnp.ones((TIMES, 2), bool)
    model = ts.neural_cde(2, 4, 3, width=8, interpolation=interpolation, steps=STEPS, key=jr.key(0))

    def theirs(model, values):
        since, counts = (times - times[0])[:, None], jnp.cumsum(mask, axis=0).astype(float)
        told = jnp.concatenate([since, values, counts], axis=1)
        z0 = model.first(jnp.concatenate([values[0], jnp.ones(2)]))
        along = kinked if interpolation == "linear" else cubic
        return model.readout(along(model.drive.field, times, told, z0))

    found, expected = (
        eqx.filter_jit(
            eqx.filter_value_and_grad(lambda both, call=call: jnp.sum(jnp.sin(call(*both))))
        )((model, values))
        for call in (lambda model, values: model(times, values, mask), theirs)
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
