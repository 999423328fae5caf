"""SUMO as a bound: unbiased for the model, drawing the posterior over, as cheap as it says."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from conjugate import exact_posterior, log_evidence, model, proposal

from pullback.bounds import SUMO, ImportanceWeighted, LatentModel
from pullback.bounds._sumo_bound import _entries
from pullback.calculus import Geometric, HarmonicTail, ragged_terms
from pullback.models.vae import Bernoulli, BoundLoss, Normal, mlp_vae
from pullback.sampling import (
    DoublyReparameterised,
    GumbelSoftmax,
    PathDerivative,
    Reparameterised,
    ScoreFunction,
)
from pullback.train import fit

pytestmark = pytest.mark.usefixtures("promotion")

PATH = PathDerivative(allow_bias=True)
X, NOISE = 2.0, 1.0


def one_dimensional(theta):
    return LatentModel(
        lambda z: dist.Normal(z, NOISE).log_prob(X), dist.Normal(theta, jnp.ones_like(theta))
    )


def within_four_errors(found, truth):
    error = found.std(axis=0) / len(found) ** 0.5
    assert np.all(np.abs(found.mean(axis=0) - truth) < 4 * error), (found.mean(axis=0), error)


def test_value_and_gradients_are_those_of_the_evidence_and_of_the_inclusive_divergence(key):
    # p(z | x) = N((x + theta) / 2, 1/2), and the path follows E_{p(z|x)}[grad log q].
    def value(params, key):
        mean, log_std, theta = params
        q = dist.Normal(mean, jnp.exp(log_std))
        bound = SUMO(HarmonicTail(cap=60), exact=2)
        return bound(one_dimensional(theta), q, estimator=PATH, num_samples=40, key=key)

    params = jnp.array([0.7, -0.1, 0.0])
    run = jax.jit(lambda keys: jax.lax.map(lambda k: jax.value_and_grad(value)(params, k), keys))
    values, slopes = (np.asarray(part) for part in run(jr.split(key, 1000)))
    truth = float(dist.Normal(0.0, 2**0.5).log_prob(X))
    within_four_errors(values, truth)
    gap, var = 1.0 - params[0], jnp.exp(2 * params[1])
    wanted = np.array([gap / var, (0.5 + gap**2) / var - 1, X / 2])
    within_four_errors(slopes, wanted)


def test_at_the_posterior_every_stop_gives_the_evidence(key):
    run = lambda estimator: SUMO(HarmonicTail(cap=20))(
        model(), exact_posterior(), estimator=estimator, num_samples=3, key=key
    )
    estimators = (Reparameterised(), PATH, ScoreFunction("leave_one_out"))
    compiled = jax.jit(lambda: [run(estimator) for estimator in estimators])()
    for found in (*compiled, *map(run, estimators)):
        np.testing.assert_allclose(found, log_evidence(), rtol=1e-10)


def test_over_its_stops_it_is_the_longest_bound_for_every_estimator(key):
    # cap 1: K is 1 whatever is drawn, so the estimate is the bound of exact + 1 samples itself.
    truncation = Geometric(0.5, cap=1)
    q = proposal(0.4)
    long = ImportanceWeighted(3)
    for estimator in (Reparameterised(), ScoreFunction()):
        mean = lambda bound, e=estimator: jax.jit(jax.vmap(
            lambda k: bound(model(), q, estimator=e, key=k)
        ))(jr.split(key, 4000))  # fmt: skip
        short, whole = mean(SUMO(truncation, exact=2)), mean(long)
        spread = (short.var() / len(short) + whole.var() / len(whole)) ** 0.5
        assert abs(short.mean() - whole.mean()) < 4 * spread


@pytest.mark.parametrize("batch_size", [None, 1, 3, 100])
def test_only_the_weights_that_are_needed_are_computed(batch_size, key):
    counted = []

    def target(x):
        def log_joint(z):
            jax.debug.callback(lambda _: counted.append(1), z)
            return dist.Normal(z, NOISE).log_prob(x) + dist.Normal(0.0, 1.0).log_prob(z)

        return log_joint, dist.Normal(x / 2, 0.9)

    bound, x = SUMO(HarmonicTail(cap=200), exact=2), jnp.arange(6.0)
    found = jax.jit(lambda key: bound.estimates(target, x, batch_size=batch_size, key=key))(key)
    jax.block_until_ready(found)
    jax.effects_barrier()
    stops, _, _ = jr.split(key, 3)
    needed = int(jnp.sum(2 + bound.truncation.sample((6,), key=stops)))
    size = 6 if batch_size is None else batch_size
    assert len(counted) == -(-needed // size) * size
    assert np.isfinite(found).all()


def test_estimators_that_do_not_fit_are_refused_with_what_does(key):
    bound, q = SUMO(HarmonicTail(cap=5)), proposal(0.2)
    for estimator, words in (
        (DoublyReparameterised(), r"DoublyReparameterised.*SUMO.*allow_bias=True"),
        (PathDerivative(), r"-KL\(p\(z\|x\) \|\| q\).*allow_bias=True"),
        (GumbelSoftmax(0.5), "relaxed values"),
    ):
        with pytest.raises(ValueError, match=words):
            bound(model(), q, estimator=estimator, key=key)
    with pytest.raises(ValueError, match="`exact` must be 1 or more, got 0"):
        SUMO(HarmonicTail(cap=5), exact=0)
    with pytest.raises(ValueError, match="`num_samples` must be 1 or more"):
        bound(model(), q, num_samples=0, key=key)
    for rows, size, words in ((0, None, "`batch` must hold at least one"), (2, 0, "`batch_size`")):
        with pytest.raises(ValueError, match=words):
            bound.estimates(lambda x: (model(), q), jnp.zeros(rows), batch_size=size, key=key)
    with pytest.raises(ValueError, match=r"noise to follow under SUMO.*allow_bias=True"):
        BoundLoss(bound)
    mixture = dist.MixtureSameFamily(
        dist.Categorical(logits=jnp.zeros(2)), dist.Normal(jnp.array([0.0, 1.0]), 1.0)
    )
    with pytest.raises(ValueError, match="ScoreFunction"):
        bound(one_dimensional(jnp.zeros(())), mixture, key=key)


def test_a_vae_trained_under_it_nears_the_evidence_of_the_data(key):
    # x = z + noise with z ~ N(0, 1): a normal is the best model of the data that there is.
    x = 2**0.5 * jr.normal(key, (200, 1))
    best = float(jnp.mean(dist.Normal(0.0, jnp.std(x)).log_prob(x)))
    vae = mlp_vae(1, latent=1, width=8, likelihood=Normal(1.0), key=key)
    loss = BoundLoss(SUMO(HarmonicTail(cap=20), exact=4), PATH)
    vae, _ = fit(
        vae, loss, x, optimiser=optax.adam(1e-2), steps=300, batch_size=40, progress=False, key=key
    )
    score = jax.jit(jax.vmap(lambda x, k: vae.log_prob(x, samples=200, key=k)))
    found = float(jnp.mean(score(x, jr.split(key, len(x)))))
    assert abs(found - best) < 0.03


def test_data_that_cannot_be_are_refused(key):
    vae = mlp_vae(2, latent=1, width=4, likelihood=Bernoulli(), key=key)
    with pytest.raises(ValueError, match="Bernoulli"):
        BoundLoss(SUMO(HarmonicTail(cap=5)), PATH).check(vae, jnp.full((3, 2), 7.0))


@pytest.mark.parametrize("exact", [1, 4])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_its_list_of_samples_is_that_which_is_made_outside_of_a_program(exact, size):
    for stops in ([1], [2, 1, 5], [3, 3, 3, 1]):
        stop = np.array(stops)
        run = jax.jit(lambda stop: _entries(stop, exact, len(stop) * (exact + 5), size))
        found = jax.tree.map(np.asarray, run(jnp.asarray(stop)))
        wanted = ragged_terms(stop, exact=exact)
        assert len(found.row) % size == 0
        for mine, theirs in zip(found, wanted, strict=True):
            assert mine[found.mask].tolist() == theirs[wanted.mask].tolist()
        assert not np.any(np.diff(found.mask.astype(int)) > 0)  # the padding is at the end
