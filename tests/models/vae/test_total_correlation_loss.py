"""beta-TCVAE as a loss of an autoencoder."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.bounds import Beta, FullCovarianceNormal, TotalCorrelation
from pullback.models.vae import Bernoulli, ObjectiveLoss, mlp_vae
from pullback.sampling import PathDerivative

pytestmark = pytest.mark.usefixtures("promotion")

X = jr.bernoulli(jr.key(0), 0.4, (6, 5)).astype(float)


def vae(**parts):
    return mlp_vae(5, latent=2, width=4, depth=1, likelihood=Bernoulli(), key=jr.key(1), **parts)


def test_with_equal_weights_it_is_the_sampled_loss_of_beta_and_so_is_its_gradient():
    losses = (
        ObjectiveLoss(TotalCorrelation(3.0, alpha=3.0, gamma=3.0, size=60, batch_size=4)),
        ObjectiveLoss(Beta(3.0), kl="sampled"),
    )
    slope = lambda loss: eqx.filter_value_and_grad(lambda vae: loss(vae, X, key=jr.key(2))[0])
    of = lambda loss: eqx.filter_jit(slope(loss))(vae())
    for ours, theirs in zip(*(jax.tree.leaves(of(loss)) for loss in losses), strict=True):
        if eqx.is_array(ours):
            np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-12)


def test_what_it_cannot_be_made_of_is_refused():
    objective = TotalCorrelation(3.0, size=60)
    with pytest.raises(ValueError, match="not a full covariance"):
        ObjectiveLoss(objective)(vae(family=FullCovarianceNormal(2)), X, key=jr.key(2))
    loss = ObjectiveLoss(objective, PathDerivative(), kl="sampled")
    with pytest.raises(ValueError, match="take the estimator `Reparameterised`"):
        loss(vae(), X, key=jr.key(2))


def test_it_warms_up_with_the_step():
    warm = lambda step: TotalCorrelation(step * 4.0, alpha=0.0, gamma=0.0, size=60)
    loss = lambda step: ObjectiveLoss(warm)(vae(), X, key=jr.key(2), step=step)
    (cold, metrics), (warmer, _) = loss(jnp.asarray(0)), loss(jnp.asarray(2))
    np.testing.assert_allclose(cold, metrics["distortion"])
    np.testing.assert_allclose(warmer - cold, 8 * metrics["total_correlation"])
