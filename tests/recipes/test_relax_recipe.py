"""The recipe `relax`: the physics that it brings along, and the bound of its autoencoders."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pullback.recipes._kit.discrete_vae import DiscreteVAE, mean_objective
from pullback.recipes.relax import Config, cartpole
from pullback.sampling import Enumeration, ScoreFunction


def test_the_pole_falls_as_lagranges_equations_have_it():
    """The step is Euler's; its rate is that of the equations, solved as a linear system."""

    def rate(t, y, force):
        _, speed, angle, turning = y
        cart, pole, half, g = 1.0, 0.1, 0.5, 9.8
        # In the accelerations of the cart and of the angle.
        matrix = [
            [cart + pole, pole * half * np.cos(angle)],
            [np.cos(angle), 4 / 3 * half],
        ]
        right = [force + pole * half * turning**2 * np.sin(angle), g * np.sin(angle)]
        slide, turn = np.linalg.solve(matrix, right)
        return np.array([speed, slide, turning, turn])

    state = np.array([0.1, -0.4, 0.15, 0.7])
    for right, force in ((True, 10.0), (False, -10.0)):
        found = cartpole.move(jnp.asarray(state), jnp.asarray(right))
        np.testing.assert_allclose((found - state) / 0.02, rate(0, state, force), rtol=1e-9)
        exact = solve_ivp(rate, (0, 0.02), state, args=(force,), rtol=1e-9).y[:, -1]
        np.testing.assert_allclose(found, exact, atol=5e-3)


def test_an_episode_ends_with_the_fall(key):
    policy = cartpole.Policy(eqx.nn.MLP(4, 2, 4, 1, key=key))
    # Always to the right: gone in about ten steps.
    bias = jnp.array([-100.0, 100.0])
    policy = eqx.tree_at(lambda p: p.net.layers[-1].bias, policy, bias)
    seen = cartpole.episode(policy, 40, key=key)
    steps = int(jnp.sum(seen.mask))
    assert 7 < steps < 14
    np.testing.assert_array_equal(seen.rewards, np.arange(40) < steps)
    assert not bool(cartpole.fallen(seen.states[steps - 1]))
    assert bool(cartpole.fallen(seen.states[steps]))


@pytest.mark.parametrize("latents", [(3,), (2, 3)])
def test_the_bound_is_below_the_evidence_by_the_divergence_from_the_posterior(latents, key):
    """Evidence by a sum over all latents; the bound's expectation by enumeration."""
    model = DiscreteVAE(5, latents, 4, 1, key=key)
    model = eqx.tree_at(lambda m: m.prior, model, jr.normal(key, latents))
    x = jnp.array([1.0, 0.0, 0.0, 1.0, 1.0])
    q = model.posterior(x)
    f = model.distortion(x)
    outcomes = Enumeration()._outcomes(q)
    prior = eqx.tree_at(lambda q: q.logits, q, model.prior)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        log_q = jnp.sum(q.log_prob(outcomes), axis=1)
        joint = jnp.sum(prior.log_prob(outcomes), axis=1) - jax.vmap(lambda z: f(z, q))(outcomes)
    compiled = eqx.filter_jit(mean_objective)
    bound, _ = compiled(model, x[None], lambda x: Enumeration(), 1, key=key)
    gap = jnp.sum(jnp.exp(log_q) * (log_q - (joint - jax.nn.logsumexp(joint))))
    assert float(-bound) == pytest.approx(float(jax.nn.logsumexp(joint) - gap), rel=1e-9)
    sampled, _ = compiled(model, x[None], lambda x: ScoreFunction(), 4000, key=key)
    assert float(sampled) == pytest.approx(float(bound), abs=0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"ways": ("relax", "gumbel")}, "ways must be some, each once, .* rebar and relax"),
        (
            {"models": ("linear", "deep")},
            "models must be some, each once, of nonlinear, linear; got",
        ),
        ({"toy_steps": 100}, "toy_steps must be at least 1000, got 100"),
        ({"iterations": 5}, "iterations must be at least 10, got 5"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **wrong)
