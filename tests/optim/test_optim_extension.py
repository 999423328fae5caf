"""A curvature of one's own, from public names alone."""

import equinox as eqx
import gaussian_rows as rows
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import pullback as pb


class Isotropic(pb.optim.AbstractCurvature):
    """One number for all weights: the mean of the Fisher matrix's diagonal."""

    rate: float = 1.0

    def start(self, factors):
        return jnp.ones_like(self.measure(factors))

    def measure(self, factors):
        flat = [jnp.ravel(leaf) for leaf in jax.tree.leaves(factors.squares())]
        return jnp.concatenate(flat).mean()

    def prepare(self, statistics, *, intrinsic, damping, scale):
        inner = statistics + intrinsic
        return {"deviation": scale / jnp.sqrt(inner), "inverse": 1 / (inner + damping)}

    def solve(self, prepared, gradient):
        return jax.tree.map(lambda leaf: prepared["inverse"] * leaf, gradient)

    def draw(self, prepared, model, *, key):
        params, rest = eqx.partition(model, eqx.is_inexact_array)
        flat, back = jax.flatten_util.ravel_pytree(params)
        noise = prepared["deviation"] * jr.normal(key, flat.shape, flat.dtype)
        return eqx.combine(back(flat + noise), rest)

    def noise(self, prepared, *, exact, key):
        return None


def test_a_curvature_of_ones_own_is_taken_as_the_librarys():
    net = eqx.nn.Linear(rows.D, "scalar", use_bias=False, key=jr.key(1), dtype=jnp.float64)
    for draws in ("example", "batch"):
        posterior, info = pb.optim.fit_posterior(
            net, rows.TwoPoints, rows.X, rows.Y, curvature=Isotropic(), draws=draws, steps=300,
            prior_variance=rows.PRIOR, batch_size=rows.N, statistics_every=1, inverse_every=1,
            optimiser=optax.sgd(0.1), progress=False, key=jr.key(0),
        )  # fmt: skip
        mean = np.mean(np.square(rows.X)) / rows.NOISE
        want = 1 / np.sqrt(rows.N * mean + 1 / rows.PRIOR)
        np.testing.assert_allclose(posterior.prepared["deviation"], want, rtol=1e-10)
        off = np.asarray(posterior.mean.weight[0]) - rows.MEAN
        assert np.sqrt(off @ rows.PRECISION @ off / rows.D) < 0.5
        assert info.history["loss"][-1] < info.history["loss"][0]
