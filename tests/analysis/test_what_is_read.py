"""A function of the user's is asked anew at each call: what it reads may have changed."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback import analysis
from pullback._traced import _run, compiled
from pullback.bounds import DiagonalNormal, LatentModel
from pullback.sampling import grad_stats

X = np.asarray(jr.normal(jr.key(0), (60, 1)))
SEARCH = analysis.LocalSearch(steps=2, samples=1, evaluation_samples=8)
ANNEALING = analysis.Annealing(4, 2, 1, pilot_temperatures=2, pilot_rounds=1)


class Plain:
    """Not an `eqx.Module`: JAX sees nothing in it."""

    shift = 0.0


READ = Plain()
PRIOR = dist.Normal(jnp.zeros(1), 1.0).to_event(1)


def score(x):
    return READ.shift - x


def log_prob(x):
    return -jnp.sum((x - READ.shift) ** 2) / 2


def latent(x):
    return LatentModel(lambda z: dist.Normal(z[0] + READ.shift, 1.0).log_prob(x), PRIOR)


def encoder(x):
    return jnp.stack([x + READ.shift, x])


def evidence(x):
    return x * (1 + READ.shift)


def target(x):
    return latent(x[0]), dist.Normal(x + READ.shift, 0.5).to_event(1)


def logits(x):
    return jnp.stack([jax.nn.relu(x[0] + READ.shift), jnp.full((), 0.5)])


def loss(model, *, key):
    return model * READ.shift * jr.normal(key)


KEY: Any = {"key": jr.key(1)}
TEST: Any = KEY | {"batch_size": 30}
CASES = {
    "goodness_of_fit": lambda: analysis.goodness_of_fit(
        X, score=score, split=(0.4, 0.2, 0.4), width=2, steps=2, **TEST
    ).statistic,
    "kernel_stein_test": lambda: analysis.kernel_stein_test(
        X, log_prob=log_prob, num_bootstrap=3, **TEST
    ).statistic,
    "finite_set_stein_test": lambda: analysis.finite_set_stein_test(
        X, score=score, steps=1, num_simulate=3, **TEST
    ).statistic,
    "evidence_by_annealing": lambda: analysis.evidence_by_annealing(
        latent, X[:2, 0], annealing=ANNEALING, **KEY
    ).value,
    "evidence_sandwich": lambda: analysis.evidence_sandwich(
        latent, X[:2, 0], X[:2], annealing=ANNEALING, **KEY
    ).lower,
    "fit_local": lambda: analysis.fit_local(
        latent, DiagonalNormal(1), X[:2, 0], jnp.zeros((2, 1, 2)), search=SEARCH, **KEY
    ).elbo,
    "inference_gaps": lambda: analysis.inference_gaps(
        latent, encoder, DiagonalNormal(1), X[:2, 0],
        search=SEARCH, log_evidence=evidence, **KEY
    ).log_evidence,
    "rate_distortion": lambda: analysis.rate_distortion(
        target, X[:4], num_samples=2, batch_size=2, **KEY
    ).distortion,
    "accuracy_under_attack": lambda: analysis.accuracy_under_attack(
        logits, X, np.zeros(60, int), radii=[0.1], steps=1, **KEY
    ),
    "ood_scores": lambda: analysis.ood_scores(
        logits, X[:2]
    ).log_density,
    "grad_stats": lambda: grad_stats(
        loss, jnp.ones(()), jr.split(jr.key(0), 3)
    ).std,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_function_reads_may_change_between_calls(name, promotion, monkeypatch):
    first = np.asarray(CASES[name]())
    with monkeypatch.context() as patch:
        patch.setattr(READ, "shift", 3.0)
        second = np.asarray(CASES[name]())
    assert np.all(np.isfinite(first))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(CASES[name](), first)


def test_a_program_that_was_met_before_is_not_compiled_again():
    traces = []

    @compiled
    def twice(function, scale, x):
        traces.append(0)
        return function(x) * scale, "a name"

    state = {"by": np.ones(3)}
    moved = lambda x: jax.nn.relu(x + state["by"])
    counted = _run._cached
    x = jnp.arange(3.0)
    value, name = twice(moved, jnp.asarray(2.0), x)
    size = counted._cache_size()
    np.testing.assert_array_equal(value, [2.0, 4.0, 6.0])
    assert name == "a name"
    state["by"] += 1  # in place, which nobody is told of
    np.testing.assert_array_equal(twice(moved, jnp.asarray(2.0), x)[0], [4.0, 6.0, 8.0])
    assert counted._cache_size() == size
    assert len(traces) == 2
