"""What is learned inside of a loss is trained beside the model, or refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from pullback.bounds import ELBO, Beta
from pullback.models.vae import Bernoulli, BoundLoss, ObjectiveLoss, mlp_vae
from pullback.sampling import (
    Lax,
    NeuralControlVariate,
    Reparameterised,
    ScoreFunction,
    expectation,
    rebar,
)
from pullback.train import JointLoss, evaluate, fit

DATA = jnp.ones((8, 4))


def lax():
    net = eqx.nn.MLP(1, "scalar", 4, 1, jnp.tanh, key=jr.key(0))
    return Lax(NeuralControlVariate(net, temperature=None))


def vae():
    return mlp_vae(4, latent=1, width=3, likelihood=Bernoulli(), key=jr.key(1))


def loss_of(estimator, model, batch, key):
    """Of coins that are to come up heads, with the batch for weights."""
    f = lambda z, q: -jnp.sum(z.astype(float) * jnp.mean(batch, axis=0))
    q = dist.BernoulliLogits(model)
    return expectation(f, q, estimator=estimator, num_samples=2, key=key), {}


class Coins(eqx.Module):
    estimator: object

    def __call__(self, model, batch, *, key):
        return loss_of(self.estimator, model, batch, key)


def closing_over(estimator):
    def loss(model, batch, *, key):
        return loss_of(estimator, model, batch, key)

    return loss


AT_MODULE_LEVEL = rebar()


def reading_a_global(model, batch, *, key):
    return (lambda: loss_of(AT_MODULE_LEVEL, model, batch, key))()


def run(model, loss, **more):
    options = {"optimiser": optax.adam(0.05), "steps": 5, "batch_size": 4, "key": jr.key(3)}
    return fit(model, loss, DATA, **(options | more))


@pytest.mark.parametrize("loss", [
    BoundLoss(ELBO(), lax()), ObjectiveLoss(Beta(), lax()), Coins(rebar()),
    Coins(ScoreFunction(jnp.array(0.5))), closing_over(rebar()), reading_a_global,
    eqx.Partial(loss_of, rebar()), jax.jit(closing_over(rebar())), eqx.filter_jit(Coins(rebar())),
])  # fmt: skip
def test_what_would_not_be_trained_is_refused(loss):
    given = {"optimiser": optax.adam(0.1), "steps": 1, "batch_size": 4}
    message = r"learned.*JointLoss\(loss\).*\(model, estimator\)"
    with pytest.raises(ValueError, match=message):
        fit(jnp.zeros(4), loss, DATA, key=jr.key(0), **given)
    with pytest.raises(ValueError, match=message):
        fit(jnp.zeros((2, 4)), loss, DATA, key=jr.split(jr.key(0)), **given)


def test_estimators_with_settings_alone_are_not_refused():
    held = ScoreFunction(0.5)
    model, _ = run(jnp.zeros(4), closing_over(held))
    assert jnp.all(model != 0)
    run(vae(), BoundLoss(ELBO(), Reparameterised()), steps=1)
    with pytest.raises(ValueError, match="no learned parts"):
        JointLoss(closing_over(rebar()))


def test_joint_training_is_that_of_the_pair():
    """The same numbers as a loss of the pair, written by hand; and the control variate moves."""
    joint = JointLoss(Coins(rebar()))
    (model, learned), info = run((jnp.zeros(4), joint.learned), joint, validation=DATA)

    def by_hand(pair, batch, *, key):
        return loss_of(pair[1], pair[0], batch, key)

    (expected, estimator), _ = run((jnp.zeros(4), rebar()), by_hand)
    np.testing.assert_allclose(model, expected, rtol=1e-12)
    found, eta = (
        jax.tree.leaves(each)[0] for each in (joint.at(learned), estimator.control_variate)
    )
    np.testing.assert_allclose(found, eta, rtol=1e-12)
    assert abs(float(eta) - 1) > 0.01
    assert "validation_loss" in info.lines()[-1]
    assert np.isfinite(evaluate((model, learned), joint, DATA, batch_size=4, key=jr.key(0))["loss"])


def test_joint_losses_keep_the_check_and_the_step():
    joint = JointLoss(
        ObjectiveLoss(lambda step: Beta(jnp.minimum(step.astype(float) / 10, 1.0)), lax())
    )
    (_, learned), _ = run((vae(), joint.learned), joint)
    before, after = jax.tree.leaves((joint.learned, learned))[0], jax.tree.leaves(learned)[0]
    assert jnp.any(before != after)
    with pytest.raises(ValueError, match="Bernoulli"):
        fit((vae(), joint.learned), joint, 255 * DATA, optimiser=optax.adam(0.1), steps=1,
            batch_size=4, key=jr.key(0))  # fmt: skip


def test_a_joint_loss_asks_for_the_pair():
    joint = JointLoss(Coins(rebar()))
    for given in (jnp.zeros(4), (jnp.zeros(4), [])):
        with pytest.raises(TypeError, match=r"pair `\(model, joint\.learned\)`.*got (Array|tuple)"):
            run(given, joint)
