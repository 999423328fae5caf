"""A game and a divergence of one's own, from public names alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import pullback as pb


class Hinge(pb.games.AbstractGame):
    """A hinge critic, whose logits are no log ratios, and a generator that makes them large."""

    def show(self, generator, batch, *, key):
        z = jr.normal(key, (len(batch), 2), batch.dtype)
        return batch, jax.vmap(generator)(z)

    def losses(self, discriminator, shown, *, key):
        real, fake = (jax.vmap(discriminator)(rows) for rows in shown)
        own = jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))
        return own, -jnp.mean(fake), {"gap": jnp.mean(real) - jnp.mean(fake)}


def test_a_game_of_ones_own_is_played_as_the_librarys(key):
    data = 3 + 0.5 * jr.normal(key, (400, 1))
    adam = optax.adam(0.02, b1=0.5, eps_root=1e-14)
    net = eqx.nn.MLP(1, "scalar", 16, 1, jnp.tanh, key=jr.key(1))
    generator, _, info = pb.games.fit_gan(
        eqx.nn.Linear(2, 1, key=jr.key(0)), net, data,
        pb.games.GANStep(adam, adam, Hinge(), unroll=1), steps=400, batch_size=50, progress=False,
        key=jr.key(2),
    )  # fmt: skip
    assert abs(generator.bias[0] - 3) < 0.5
    assert np.isfinite(info.history["gap"]).all()


def test_a_divergence_of_ones_own_is_descended_as_the_librarys():
    """Triangular discrimination, (r - 1)^2 / (r + 1): its exact loss by hand, and in a game."""
    mine = pb.games.FDivergence(lambda v: jnp.square(jnp.expm1(v)) / (jnp.exp(v) + 1))
    v = jnp.linspace(-3.0, 3.0, 13)
    r = np.exp(np.asarray(v))
    slope = (r - 1) * (r + 3) / (r + 1) ** 2
    np.testing.assert_allclose(mine.exact(v), (r - 1) ** 2 / (r + 1) - r * slope, atol=1e-12)
    np.testing.assert_allclose(mine.slope(v), slope, rtol=1e-9, atol=1e-12)
    game = pb.games.GANGame(2, mine)
    _, g, _ = game.losses(lambda x: x[0], (v[:6, None], v[7:, None]), key=jr.key(0))
    want = np.mean(mine.slope(v[:6])) + np.mean(mine.exact(v[7:]))
    np.testing.assert_allclose(g, want, rtol=1e-12)
