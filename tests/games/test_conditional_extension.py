"""A conditional of one's own, written by its interface alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax

import pullback as pb
from pullback.games import AbstractConditional


class Laplace(AbstractConditional):
    """Noise with heavy tails around what a layer says."""

    layer: eqx.nn.Linear

    def sample(self, x, *, key):
        return self.layer(x) + 0.1 * jr.laplace(key, (2,), x.dtype)


def test_a_conditional_of_ones_own_is_trained():
    model = pb.games.ALI(
        Laplace(eqx.nn.Linear(3, 2, key=jr.key(0))),
        pb.games.Deterministic(eqx.nn.Linear(2, 3, key=jr.key(1))),
        pb.games.JointDiscriminator(
            eqx.nn.Identity(), eqx.nn.Identity(), eqx.nn.MLP(5, "scalar", 4, 1, key=jr.key(2))
        ),
        prior_dim=2,
    )
    adam = optax.adam(1e-2, b1=0.5)
    trained, _ = pb.games.fit_ali(
        model, jr.normal(jr.key(3), (20, 3)), generator_optimiser=adam,
        discriminator_optimiser=adam, steps=3, batch_size=10, log_every=3, key=jr.key(4),
    )  # fmt: skip
    before, after = (jax.tree.leaves(eqx.filter(m.encoder, eqx.is_array)) for m in (model, trained))
    assert all(bool(jnp.any(a != b)) for a, b in zip(before, after, strict=True))
    assert trained.reconstruct(jnp.ones((4, 3)), key=jr.key(5)).shape == (4, 3)
