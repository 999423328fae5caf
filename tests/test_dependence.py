"""Which numbers of a value have no derivative, though they are computed from the parameters."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback._dependence import loses_gradients

STEP = lambda p: (p > 0.2).astype(p.dtype)
NOISE = np.array([0.3, -0.4])

# Of two parameters: a part with a derivative, p + noise, beside one without, a step.
LOST = {
    "concatenate": lambda p: jnp.concatenate([STEP(p), p + NOISE]),
    "stack": lambda p: jnp.stack([STEP(p), p + NOISE], axis=1).T[::-1],
    "stack of rows": lambda p: jnp.stack([p[0] * NOISE, jnp.floor(p[1] + NOISE)]),
    "where": lambda p: jnp.where(jnp.arange(2) < 1, STEP(p), p + NOISE),
    "product": lambda p: np.array([1.0, 0.0]) * STEP(p) + np.array([0.0, 1.0]) * (p + NOISE),
    "set": lambda p: (p + NOISE).at[0].set(STEP(p)[1]),
    "set by places": lambda p: jnp.zeros(3).at[jnp.array([2, 0])].set(p).at[1].add(STEP(p)[0]),
    "take": lambda p: jnp.concatenate([p, STEP(p)])[jnp.array([3, 1])],
    "vmap": lambda p: jax.vmap(lambda a: jnp.stack([STEP(a), jnp.exp(a)]))(p),
    "jit": lambda p: jax.jit(lambda a: jnp.pad(STEP(a), (0, 0)))(p) + 0 * NOISE,
    "held": lambda p: jnp.concatenate([jax.lax.stop_gradient(p), p]),
}
KEPT = {
    "constant columns": lambda p: jnp.concatenate([jnp.zeros(2), p + NOISE]),
    "relu": lambda p: jnp.concatenate([jax.nn.relu(p), jnp.abs(p), jax.nn.softplus(p)]),
    "max": lambda p: jnp.stack([jnp.max(p), jnp.sort(p)[0], jnp.linalg.norm(p)]),
    "step that is left out": lambda p: jnp.concatenate([STEP(p), p + NOISE])[2:],
    "set over": lambda p: STEP(p).at[:].set(p),
    "step times p": lambda p: STEP(p) * p,
    "solve": lambda p: jnp.linalg.solve(jnp.eye(2) + jnp.diag(p), NOISE),
    "scan": lambda p: jax.lax.scan(lambda c, a: (c + a, c * a), p[0], p)[1],
    "gamma": lambda p: dist.Gamma(jnp.exp(p), 1.0).sample(jr.key(0)),
    "student": lambda p: dist.StudentT(jnp.exp(p), p, 1.0).sample(jr.key(0), (2,)),
    "full normal": lambda p: dist.MultivariateNormal(p, jnp.eye(2)).sample(jr.key(0), (3,)),
    "dirichlet": lambda p: dist.Dirichlet(jnp.exp(p)).sample(jr.key(0)),
}


@pytest.mark.parametrize("name", [*LOST, *KEPT])
def test_a_number_without_a_derivative_is_found_among_others(name, promotion):
    function = (LOST | KEPT)[name]
    p = jnp.array([0.1, 0.7])
    assert loses_gradients(function, p) == (name in LOST)

    def compiled(p):
        assert loses_gradients(function, jax.ShapeDtypeStruct(p.shape, p.dtype)) == (name in LOST)
        return p

    jax.make_jaxpr(compiled)(p)


def test_one_that_is_written_backwards_is_looked_at_as_a_whole():
    @jax.custom_vjp
    def backwards(p):
        return p

    backwards.defvjp(lambda p: (p, None), lambda _, g: (g,))
    p = jnp.array([0.1, 0.7])
    assert not loses_gradients(backwards, p)
    assert loses_gradients(lambda p: (backwards(p), STEP(p)), p)
