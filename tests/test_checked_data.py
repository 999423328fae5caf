"""Whoever scores a model on data refuses what the model could not be trained on, alike."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.analysis import (
    evidence_by_annealing,
    evidence_sandwich,
    fit_local,
    inference_gaps,
    rate_distortion,
)
from pullback.bounds import ELBO, Beta
from pullback.models.bayes import categorical_log_likelihood
from pullback.models.flows import (
    CNF,
    HybridFlow,
    HybridLoss,
    maximum_likelihood_loss,
    residual_flow,
)
from pullback.models.vae import (
    Bernoulli,
    BoundLoss,
    ObjectiveLoss,
    batch_terms,
    importance_weighted_evidence,
    mlp_vae,
)
from pullback.nn import ConcatMLP
from pullback.sampling import Reparameterised, StandardNormal
from pullback.train import evaluate, fit

VAE = mlp_vae(4, latent=2, width=3, likelihood=Bernoulli(), key=jr.key(0))
FAMILY = VAE.family
BOUND, RATES = BoundLoss(ELBO()), ObjectiveLoss(Beta(1.0))
SGD, KEY = optax.sgd(0.1), jr.key(1)
TRAIN = {"optimiser": SGD, "steps": 1, "batch_size": 2}


def stacked(model):
    return jax.tree.map(lambda leaf: leaf[None] if eqx.is_array(leaf) else leaf, model)


SCORES = {
    "fit": lambda x: fit(VAE, BOUND, x, **TRAIN, key=KEY),
    "fit's validation": lambda x: fit(VAE, BOUND, 0 * x, validation=x, **TRAIN, key=KEY),
    "stack": lambda x: fit(stacked(VAE), RATES, x, **TRAIN, key=KEY[None]),
    "evaluate": lambda x: evaluate(VAE, BOUND, x, batch_size=2, key=KEY),
    "evaluate rates": lambda x: evaluate(VAE, RATES, x, batch_size=2, key=KEY),
    "rate_distortion": lambda x: rate_distortion(VAE.target, x, key=KEY),
    "importance": lambda x: importance_weighted_evidence(VAE, x, samples=2, key=KEY),
    "log_prob": lambda x: VAE.log_prob(x[1], key=KEY),
    "batch_terms": lambda x: batch_terms(VAE, x, estimator=Reparameterised(), key=KEY),
    "annealing": lambda x: evidence_by_annealing(VAE.model, x, key=KEY),
    "sandwich": lambda x: evidence_sandwich(VAE.model, x, jnp.zeros((3, 2)), key=KEY),
    "gaps": lambda x: inference_gaps(VAE.model, VAE.encode, FAMILY, x, key=KEY),
    "fit_local": lambda x: fit_local(VAE.model, FAMILY, x, jnp.zeros((3, 4)), key=KEY),
}


@pytest.mark.parametrize("name", SCORES)
def test_pixels_of_0_to_255_are_refused_by_all_who_score(name):
    pixels = jnp.array([[0.0, 1.0, 0.5, 0.0], [255.0, 128.0, 0.0, 3.0], [0.0, 0.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match=r"row [01] .* from 0 to 1 \(.*from 0 to 255\)"):
        SCORES[name](pixels)


def test_compiled_pixels_of_0_to_255_have_no_finite_score():
    """Their numbers cannot be looked at; the law itself gives them no mass."""
    pixels = jnp.array([[0.0, 1.0, 0.5, 0.0], [255.0, 128.0, 0.0, 3.0]])

    @eqx.filter_jit
    def scores(model, x):
        terms = batch_terms(model, x, estimator=Reparameterised(), key=KEY)
        evidence = importance_weighted_evidence(model, x, samples=2, key=KEY)
        one = jnp.stack([model.log_prob(each, key=KEY) for each in x])
        return -terms.distortion, evidence, one, BOUND(model, x, key=KEY)[0]

    *rows, loss = scores(VAE, pixels)
    for found in rows:
        assert np.isfinite(found[0])
        assert found[1] == -np.inf
    assert loss == np.inf


@pytest.mark.parametrize("make", ["residual", "cnf"])
def test_points_that_are_not_of_a_flow_are_named(make):
    field = ConcatMLP(2, width=4, depth=1, key=jr.key(0))
    flow = (
        residual_flow(2, blocks=1, width=4, key=jr.key(0))
        if make == "residual"
        else CNF(field, StandardNormal(2), steps=2)
    )
    holed = np.ones((5, 2))
    holed[3, 1] = np.nan
    for data, message in (
        (holed, "row 3 is not"),
        (np.ones(5), r"must have shape \[n, 2\], got \[5\]"),
        (np.ones((5, 3)), r"must have shape \[n, 2\], got \[5, 3\]"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(flow, maximum_likelihood_loss, data, **TRAIN, key=KEY)
        with pytest.raises(ValueError, match=message):
            fit(stacked(flow), maximum_likelihood_loss, data, **TRAIN, key=KEY[None])
        with pytest.raises(ValueError, match=message):
            evaluate(flow, maximum_likelihood_loss, data, batch_size=2, key=KEY)
    line = residual_flow(1, blocks=1, width=4, key=jr.key(0))
    with pytest.raises(ValueError, match=r"Take `x\[:, None\]`"):
        fit(line, maximum_likelihood_loss, np.ones(5), **TRAIN, key=KEY)


@pytest.mark.parametrize("labels", [[0, 1, 3], [0, -1, 2]])
def test_labels_that_are_no_classes_are_refused(labels):
    flow = residual_flow(2, blocks=1, width=4, key=jr.key(0))
    model = HybridFlow(flow, eqx.nn.Linear(2, 3, key=jr.key(1)))
    data = np.ones((3, 2)), np.array(labels)
    with pytest.raises(ValueError, match="must lie between 0 and 2"):
        fit(model, HybridLoss(), data, **TRAIN, key=KEY)
    with pytest.raises(ValueError, match="must lie between 0 and 2"):
        evaluate(model, HybridLoss(), data, batch_size=2, key=KEY)
    one = eqx.filter_jit(categorical_log_likelihood)
    found = [float(one(jnp.log(jnp.array([0.2, 0.3, 0.5])), jnp.asarray(y))) for y in labels]
    exact = [np.log([0.2, 0.3, 0.5])[y].item() if 0 <= y < 3 else np.nan for y in labels]
    np.testing.assert_allclose(found, exact)
