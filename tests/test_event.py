"""Every own distribution refuses points whose shape is not that of its draws."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.bounds import CouplingFlow, DiagonalNormal, SupportFamily
from pullback.models.energy import GaussianBernoulliRBM, LinearICA
from pullback.models.timeseries import Posterior
from pullback.models.vae import AR1Prior, MixturePrior
from pullback.sampling import (
    ExpRelaxedOneHotCategorical,
    OneHotCategorical,
    RelaxedOneHotCategorical,
    Replicated,
    StandardNormal,
)

KEY = jr.key(0)
COUPLING = CouplingFlow(3, layers=2, width=4, key=KEY)
LAWS = {
    "standard": (StandardNormal(3), (3,)),
    "standard of a matrix": (StandardNormal((2, 3)), (2, 3)),
    "mapped": (SupportFamily(DiagonalNormal(3), "positive")(jnp.zeros(6)), (3,)),
    "coupling": (COUPLING(jnp.zeros(COUPLING.shape)), (3,)),
    "mixture": (MixturePrior(2, 3, key=KEY), (3,)),
    "autoregressive": (AR1Prior([0.5, 0.5, 0.9], steps=2), (2, 3)),
    "of a series": (Posterior(jnp.zeros(3), jnp.ones(3)), (3,)),
    "one-hot": (OneHotCategorical(jnp.zeros(3)), (3,)),
    "relaxed": (RelaxedOneHotCategorical(0.5, jnp.zeros(3)), (3,)),
    "logarithms": (ExpRelaxedOneHotCategorical(0.5, jnp.zeros(3)), (3,)),
    "of sources": (LinearICA(2 * jnp.eye(3)), (3,)),
    "of hidden units": (GaussianBernoulliRBM(jnp.ones((3, 2)), jnp.zeros(3), jnp.zeros(2)), (3,)),
    "of draws": (Replicated(StandardNormal(2), 3), (3, 2)),
}
ONE_POINT = ("mixture", "of sources", "of hidden units", "of draws")


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("compiled", [False, True])
def test_points_of_another_shape_are_refused(name, compiled):
    law, event = LAWS[name]
    density = jax.jit(lambda z: law.log_prob(z)) if compiled else law.log_prob
    assert density(jnp.full(event, 0.5)).shape == ()
    wrong = [event[1:], (*event[:-1], event[-1] + 1), (*event, 1), (1,) * len(event)]
    if name in ("coupling", "autoregressive", "of a series"):
        wrong = wrong[1:]  # the type says so already
    if name == "of draws":
        wrong = [(2, 2), (4, 2), ()]
    if name in ONE_POINT[:-1]:
        wrong.append((5, *event))
    for shape in wrong:
        with pytest.raises(ValueError, match=r"`(x|z|value)` must (be|end in) "):
            density(jnp.full(shape, 0.5))
    if name not in (*ONE_POINT, "of a series"):  # whose own axes those in front are
        found = density(jnp.full((5, *event), 0.5))
        np.testing.assert_allclose(found, np.full(5, density(jnp.full(event, 0.5))), rtol=1e-9)


def test_whole_numbers_are_points_like_any_other():
    law = SupportFamily(DiagonalNormal(2), "positive")(jnp.full(4, 0.3))
    for density in (law.log_prob, jax.jit(lambda z: law.log_prob(z))):
        whole, real = density(jnp.array([3, 5])), density(jnp.array([3.0, 5.0]))
        np.testing.assert_allclose(whole, real, rtol=1e-12)
        np.testing.assert_allclose(law.log_prob(np.array([3.0, 5.0])), real, rtol=1e-12)
