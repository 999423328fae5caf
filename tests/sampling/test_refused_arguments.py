"""Senseless arguments of estimators and distributions are refused, eagerly and compiled."""

import inspect
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.sampling import (
    LogMeanExp,
    OneHotCategorical,
    Reparameterised,
    Replicated,
    ScoreFunction,
    expectation,
)

# Without the checks of types that the tests put around them.
plain: Any = inspect.unwrap(expectation)
check_baseline: Any = inspect.unwrap(ScoreFunction.__check_init__)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, r"`f` must give a scalar, got the shape \[2\]: sum over", {}),
        (ValueError, r"`f` must give a scalar", {"estimator": ScoreFunction()}),
        (TypeError, r"`estimator` must be one.*got the class Reparameterised",
         {"estimator": Reparameterised}),
        (TypeError, r"`estimator` must be one.*got None", {"estimator": None}),
        (ValueError, "`q` must be a normalised distribution.*got float", {"q": 3.0}),
    ],
)  # fmt: skip
def test_what_is_no_scalar_no_estimator_and_no_distribution_is_refused(
    error, message, call, promotion
):
    call = {"q": dist.Normal(jnp.zeros(2), 1.0), "estimator": Reparameterised()} | call
    for run in (lambda f: f, jax.jit):
        with pytest.raises(error, match=message):
            run(lambda key: plain(lambda z, q: z, **call, key=key))(jr.key(0))


def test_a_weight_that_is_no_scalar_and_words_that_are_none_are_refused(promotion):
    q = Replicated(dist.Normal(jnp.zeros(2), 1.0), 3)
    weight = LogMeanExp(lambda z, q: dist.Normal(0.0, 1.0).log_prob(z))
    with pytest.raises(ValueError, match="`log_weight` must give a scalar"):
        expectation(weight, q, estimator=Reparameterised(), key=jr.key(0))
    with pytest.raises(ValueError, match=r"`baseline` must be 'leave_one_out'.*'leave-one-out'"):
        check_baseline(SimpleNamespace(baseline="leave-one-out"))
    for probs in ([0.5, 0.6], [1.5, -0.5]):
        with pytest.raises(ValueError, match="`probs` must be 0 or more and sum to 1"):
            OneHotCategorical(probs=jnp.array(probs))
    many = jax.nn.softmax(jr.normal(jr.key(0), (4096,), jnp.float32)).astype(jnp.bfloat16)
    assert OneHotCategorical(probs=many).log_prob(jnp.eye(4096)[0]) < 0
    whole = OneHotCategorical(jnp.array([0, 1]))
    np.testing.assert_allclose(whole.probs, jax.nn.softmax(jnp.array([0.0, 1.0])))
    assert whole.sample(jr.key(0)).dtype == float
