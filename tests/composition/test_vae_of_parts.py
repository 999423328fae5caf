"""A VAE of parts from all over the library: trained, bracketed, saved, loaded, and trained on.

The posterior is a conditional flow, trained by the path derivative under SUMO; the prior is an
energy of unknown mass. The data are drawn from a known model of the same form, so that the evidence
of the data is known, too.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jaxtyping import Array

from pullback import train
from pullback.analysis import Annealing, evidence_sandwich
from pullback.bounds import SUMO, EnergyPrior
from pullback.calculus import HarmonicTail
from pullback.models.flows import FlowFamily, cnf
from pullback.models.vae import VAE, BoundLoss, Normal, importance_weighted_evidence, mlp_vae
from pullback.sampling import PathDerivative, StandardNormal

NOISE = 0.5


class Tilted(eqx.Module):
    """A bounded network on top of a standard normal, so that its mass is finite."""

    net: eqx.nn.MLP

    def __call__(self, z: Array) -> Array:
        return jnp.tanh(self.net(z)[0]) + StandardNormal(2).log_prob(z)


def untrained(key) -> VAE:
    keys = jr.split(key, 3)
    flow = cnf(2, width=8, depth=1, context=6, steps=3, key=keys[0])
    prior = EnergyPrior(Tilted(eqx.nn.MLP(2, 1, 8, 1, key=keys[1])), StandardNormal(2), draws=64)
    return mlp_vae(
        2, latent=2, width=16, likelihood=Normal(NOISE), family=FlowFamily(flow), prior=prior,
        key=keys[2],
    )  # fmt: skip


def from_the_model(vae: VAE, count: int, key) -> tuple[Array, Array]:
    """Exact draws of z from the prior, by rejection, and of x given z."""
    proposals, uniform, noise = jr.split(key, 3)
    z = jr.normal(proposals, (20 * count, 2))
    log_ratio = jax.vmap(lambda z: jnp.tanh(vae.prior.log_density.net(z)[0]) - 1.0)(z)
    accepted = jnp.log(jr.uniform(uniform, (len(z),))) < log_ratio
    z = z[accepted][:count]
    assert len(z) == count
    x = jax.vmap(vae.decode)(z)
    return x + NOISE * jr.normal(noise, x.shape), z


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The model after training under SUMO, its data, and the folder."""
    key = jr.key(0)
    data = 1.5 * jr.rademacher(jr.key(1), (400, 1), float) + 0.7 * jr.normal(jr.key(2), (400, 2))
    loss = BoundLoss(SUMO(HarmonicTail(cap=16), exact=4), PathDerivative(allow_bias=True))
    folder = tmp_path_factory.mktemp("vae")
    trained, info = train.fit(
        untrained(key), loss, data, optimiser=optax.adam(5e-3), steps=300, batch_size=40,
        folder=folder, log_every=50, progress=False, key=key,
    )  # fmt: skip
    return trained, loss, data, folder, info


def evidence(vae, data):
    return importance_weighted_evidence(vae, data, samples=200, batch_size=50, key=jr.key(7))


def test_training_raises_the_evidence_and_draws_the_posterior_over(run):
    trained, _, data, _, _ = run
    before, after = (evidence(vae, data).mean() for vae in (untrained(jr.key(0)), trained))
    # Two clusters 3 apart with a deviation of .7 have the entropy of about 3.4 nats.
    assert after > before + 0.3
    assert after > -3.6
    # A good posterior needs few samples: 4 lose little that 200 find.
    few = importance_weighted_evidence(trained, data, samples=4, batch_size=50, key=jr.key(8))
    assert after - few.mean() < 0.2


def test_annealing_brackets_the_evidence_of_simulated_data(run):
    trained = run[0]
    x, z = from_the_model(trained, 24, jr.key(3))
    found = evidence_sandwich(
        trained.model, x, z, annealing=Annealing(200, 32, 5), progress=False, key=jr.key(4)
    )
    weighted = evidence(trained, x)
    error = 4 * np.std(np.asarray(found.upper - weighted)) / len(x) ** 0.5
    assert found.lower.mean() - 0.1 < weighted.mean() < found.upper.mean() + error
    assert -error < found.width.mean() < 0.2


def test_it_is_loaded_to_the_bit_and_trained_on_with_another_optimiser(run):
    trained, loss, data, folder, _ = run
    loaded = train.load_model(folder, untrained(jr.key(5)))
    leaves = [jax.tree.leaves(eqx.filter(vae, eqx.is_array)) for vae in (trained, loaded)]
    for mine, theirs in zip(*leaves, strict=True):
        assert jnp.array_equal(mine, theirs)
    assert jnp.array_equal(evidence(loaded, data[:20]), evidence(trained, data[:20]))
    further, info = train.fit(
        loaded, loss, data, optimiser=optax.sgd(1e-3, momentum=0.9), steps=50, batch_size=40,
        progress=False, key=jr.key(6),
    )  # fmt: skip
    assert info.lines()[-1]["step"] == 50
    assert evidence(further, data).mean() > evidence(trained, data).mean() - 0.05
    moved = further.prior.log_density.net.layers[0].weight
    assert not jnp.array_equal(moved, trained.prior.log_density.net.layers[0].weight)
