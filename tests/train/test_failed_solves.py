"""A solve that fails inside of a density: raised when scoring, NaN and named when training."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback import ode
from pullback.bounds import ELBO, AbstractFamily, Beta
from pullback.calculus import AbstractDivergence, HutchinsonDivergence
from pullback.models.flows import CNF
from pullback.models.vae import Bernoulli, BoundLoss, ObjectiveLoss, mlp_vae
from pullback.sampling import PathDerivative, Reparameterised, StandardNormal
from pullback.train import TrainingError, fit

DATA = jnp.ones((6, 4))


class Stretch(eqx.Module):
    """Grows at a rate of the example's own: the third one's is beyond every solver."""

    rate: jax.Array

    def __call__(self, t, y, args):
        return self.rate * y**3


class Flows(AbstractFamily):
    """A CNF for each example."""

    shape: tuple = eqx.field(static=True)
    divergence: AbstractDivergence | None = None
    max_steps: int = eqx.field(default=3, static=True)

    def __call__(self, params):
        field = Stretch(params[0] + 1.0)
        return CNF(field, StandardNormal(1), self.divergence, solver=diffrax.Heun(),
                   max_steps=self.max_steps)  # fmt: skip

    def augment(self, model, params):
        return model


def vae(**options):
    made = mlp_vae(4, latent=1, width=3, likelihood=Bernoulli(), key=jr.key(1))
    return eqx.tree_at(lambda v: v.family, made, Flows((2,), **options))


GIVEN = {"optimiser": optax.adam(1e-2), "steps": 2, "batch_size": 3}


@pytest.mark.parametrize("loss", [
    BoundLoss(ELBO(), PathDerivative()),
    # Slow: that it reports a failed solve is asked of every loss.
    pytest.param(ObjectiveLoss(Beta(), kl="sampled"), marks=pytest.mark.slow),
])  # fmt: skip
def test_training_stops_with_the_state_kept_and_the_solve_named(loss, tmp_path):
    with pytest.raises(TrainingError, match=r"step 1: a solver failed.*max_steps") as caught:
        fit(vae(), loss, DATA, key=jr.key(0), folder=tmp_path, **GIVEN)
    assert caught.value.metrics["result"] == ode.Result.MAX_STEPS_REACHED
    assert list(tmp_path.glob("checkpoint-*.safetensors"))
    before = jax.tree.leaves(eqx.filter(vae(), eqx.is_array))
    kept = jax.tree.leaves(eqx.filter(caught.value.model, eqx.is_array))
    assert all(np.array_equal(a, b) for a, b in zip(before, kept, strict=True))


def test_a_stack_of_which_every_model_fails_stops(tmp_path):
    models = jax.tree.map(
        lambda x: jnp.stack([x, x]) if eqx.is_array(x) else x, vae(), is_leaf=eqx.is_array
    )
    with pytest.raises(TrainingError, match="step 1: the loss is not finite") as caught:
        fit(models, BoundLoss(ELBO()), DATA, key=jr.split(jr.key(0)), **GIVEN)
    assert not np.any(caught.value.info.good)


def test_out_of_training_it_raises_as_before_and_names_the_sample():
    """Compiled after the training, from the same functions: no cache gives the silent program."""
    with pytest.raises(TrainingError):
        fit(vae(), BoundLoss(ELBO()), DATA, key=jr.key(0), **GIVEN)
    loss = BoundLoss(ELBO(), Reparameterised())
    with pytest.raises(Exception, match="max_steps"):
        eqx.filter_jit(loss)(vae(), DATA, key=jr.key(0))[0].block_until_ready()

    def end(rate):
        return ode.solve(lambda t, y, a: rate * y**2, jnp.ones(()), jnp.array([0.0, 1.0])).ys[-1]

    rates = jnp.array([0.1, 0.2, 0.3, 4.0, 0.5])
    with pytest.raises(Exception, match=r"1 of 5 samples \(index 3\)"):
        jax.jit(jax.vmap(end))(rates).block_until_ready()
    with pytest.raises(Exception, match=r"1 of 6 samples \(index \(1, 0\)\)"):
        jax.jit(jax.vmap(jax.vmap(end)))(rates[:6].reshape(-1)[jnp.array([[0, 1, 2], [3, 4, 0]])])


def test_an_estimated_divergence_in_a_posterior_is_told_the_remedy():
    family = vae(divergence=HutchinsonDivergence(), max_steps=4096)
    with pytest.raises(ValueError, match=r"posterior.*`divergence=None`"):
        fit(family, BoundLoss(ELBO()), DATA, key=jr.key(0), **GIVEN)
