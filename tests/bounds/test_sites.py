"""Several latent sites: a chain of normals in closed form, and a discrete site by a sum."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.bounds import (
    ELBO,
    SUMO,
    EnergyPrior,
    ImportanceWeighted,
    LatentModel,
    Renyi,
    kl_divergence,
)
from pullback.calculus import Geometric
from pullback.sampling import (
    DoublyReparameterised,
    Enumeration,
    GumbelSoftmax,
    JointDistribution,
    OneHotCategorical,
    PathDerivative,
    PerSite,
    Reparameterised,
    ScoreFunction,
    draw,
    is_reparameterised,
    log_prob,
    rebar,
)

pytestmark = pytest.mark.usefixtures("promotion")

X, A = 1.3, 0.7  # "far" ~ N(theta, 1), "near" ~ N(A far, 1), x ~ N(near, 1)
# mean and log deviation of q(far); slope, shift and log deviation of q(near | far); theta.
PARAMS = np.array([0.4, -0.3, 0.5, 0.3, -0.5, 0.2])


class Line(eqx.Module):
    """A normal whose mean is a line in the sample of another site."""

    slope: Any
    shift: Any
    log_std: Any
    of: str = eqx.field(static=True)

    def __call__(self, before):
        return dist.Normal(self.slope * before[self.of] + self.shift, jnp.exp(self.log_std))


def chain(params):
    mean, log_std, slope, shift, log_r, theta = params
    prior = JointDistribution(
        {
            "far": dist.Normal(theta, 1.0),
            "near": lambda before: dist.Normal(A * before["far"], 1.0),
        }
    )
    posterior = JointDistribution(
        {"far": dist.Normal(mean, jnp.exp(log_std)), "near": Line(slope, shift, log_r, "far")}
    )
    return LatentModel(lambda z: dist.Normal(z["near"], 1.0).log_prob(X), prior), posterior


def closed_form(params):
    mean, log_std, slope, shift, log_r, theta = params
    s, r = np.exp(log_std), np.exp(log_r)
    apart = ((slope - A) * mean + shift) ** 2 + ((slope - A) * s) ** 2 + r**2
    miss = (X - slope * mean - shift) ** 2 + (slope * s) ** 2 + r**2
    squares = (mean - theta) ** 2 + s**2 + apart + miss
    return -0.5 * (3 * np.log(2 * np.pi) + squares) + np.log(2 * np.pi * np.e) + log_std + log_r


def differences(f, params, step=1e-5):
    moves = step * np.eye(params.size).reshape(-1, *params.shape)
    return np.reshape([(f(params + m) - f(params - m)) / (2 * step) for m in moves], params.shape)


def exact(theta=0.2):
    """The posterior itself, and the log-evidence."""
    precision = 1 + A**2 / 2
    params = [(theta + A * X / 2) / precision, -0.5 * np.log(precision), A / 2, X / 2,
              -0.5 * np.log(2), theta]  # fmt: skip
    var = A**2 + 2
    return jnp.array(params), -0.5 * (np.log(2 * np.pi * var) + (X - A * theta) ** 2 / var)


@eqx.filter_jit
def draws(target, bound, estimator, params, keys, num_samples=1):
    def one(key):
        value = lambda p: bound(*target(p), estimator=estimator, num_samples=num_samples, key=key)
        return jax.value_and_grad(value)(params)

    return jax.vmap(one)(keys)


def within_four_errors(found, wanted):
    for got, truth in zip(found, wanted, strict=True):
        got = np.asarray(got)
        error = got.std(axis=0) / len(got) ** 0.5
        assert np.all(np.abs(got.mean(axis=0) - truth) < 4 * error + 1e-9), (got.mean(0), truth)


FIRST, LEFT_OUT = Reparameterised(), ScoreFunction("leave_one_out")
WAYS = {
    "sampled": ("sampled", Reparameterised()),
    "analytic": ("analytic", Reparameterised()),
    "path": ("sampled", PathDerivative()),
    "path where known": ("known", PathDerivative()),
    "score": ("analytic", ScoreFunction(-3.0)),
    "score, then path": (
        "known",
        PerSite(
            {"far": ScoreFunction("leave_one_out"), "near": PathDerivative()}, draws={"far": 3}
        ),
    ),
    "path, then score": ("known", PerSite({"far": PathDerivative(), "near": ScoreFunction(-3.0)})),
    "each its path": ("known", PerSite({"far": PathDerivative(), "near": PathDerivative()})),
    "each reparameterised": ("analytic", PerSite({"far": FIRST, "near": FIRST})),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_chain_of_normals_has_its_closed_form_and_slopes(way, key):
    kl, estimator = WAYS[way]
    found = draws(chain, ELBO(kl), estimator, jnp.asarray(PARAMS), jr.split(key, 20_000))
    within_four_errors(found, (closed_form(PARAMS), differences(closed_form, PARAMS)))


def test_at_the_exact_posterior_there_is_no_variance_and_along_the_path_no_slope(key):
    params, evidence = exact()
    keys = jr.split(key, 50)
    path = PathDerivative()
    each = PerSite({"far": path, "near": path})
    for bound, estimator in (
        (ELBO(), path), (ELBO(), each), (ImportanceWeighted(4), DoublyReparameterised()),
        (Renyi(0.5, 3), DoublyReparameterised()), (SUMO(Geometric(0.5, cap=3)), FIRST),
    ):  # fmt: skip
        values, slopes = draws(chain, bound, estimator, params, keys)
        np.testing.assert_allclose(values, evidence, rtol=1e-12)
        if not isinstance(bound, SUMO):
            np.testing.assert_allclose(slopes[:, :5], 0, atol=1e-12, err_msg=str(estimator))
    # An earlier site that is seen by its own estimator leaves its path through the later one.
    apart = PerSite({"far": FIRST, "near": path})
    assert draws(chain, ELBO(), apart, params, keys)[1][:, :2].std() > 1e-3


def test_a_weighted_bound_has_the_same_slopes_doubly_reparameterised(key):
    keys, params = jr.split(key, 20_000), jnp.asarray(PARAMS)
    bound = ImportanceWeighted(3)
    total, doubly = (
        draws(chain, bound, way, params, keys)[1] for way in (FIRST, DoublyReparameterised())
    )
    within_four_errors((total - doubly,), (np.zeros(6),))


def test_a_posterior_drawn_from_below_samples_what_its_prior_is_given_too_late(key):
    """q(near) q(far | near), against p(far) p(near | far)."""
    model = chain(PARAMS)[0]
    theta, (_, evidence) = PARAMS[5], exact(PARAMS[5])
    # near ~ N(A theta, 1 + A^2), seen with noise of 1; far given near by its own noise of 1.
    var = 1 + A**2
    gain = var / (var + 1)
    below = JointDistribution({
        "near": dist.Normal(A * theta + gain * (X - A * theta), gain**0.5),
        "far": Line(A / var, theta - A * A * theta / var, -0.5 * np.log(var), "near"),
    })  # fmt: skip
    run = lambda kl: lambda key: ELBO(kl)(model, below, key=key)
    np.testing.assert_allclose(run("sampled")(key), evidence, rtol=1e-12)
    found = jax.jit(jax.vmap(run("known")))(jr.split(key, 4000))
    within_four_errors((found,), (evidence,))
    with pytest.raises(ValueError, match=r"site 'near': its prior depends on what .* draws later"):
        run("analytic")(key)


# A kind of three, and a place given the kind; x is a bent, noisy look at the place.
MEANS = np.array([-1.0, 0.3, 1.5])
TABLE = np.array([[0.2, -0.4, 0.5], [-0.8, 0.1, 1.2], [-0.3, -0.5, 0.2]])


def kinds(table):
    logits, means, log_stds = table
    prior = JointDistribution({
        "kind": OneHotCategorical(jnp.array([0.1, 0.5, -0.3])),
        "a place": lambda before: dist.Normal(before["kind"] @ jnp.asarray(MEANS), 1.0),
    })  # fmt: skip
    posterior = JointDistribution({
        "kind": OneHotCategorical(logits),
        "a place": Place(means, log_stds),
    })  # fmt: skip
    look = lambda z: dist.Normal(jnp.tanh(z["a place"]), 0.5).log_prob(0.8)
    return LatentModel(look, prior), posterior


class Place(eqx.Module):
    means: Any
    log_stds: Any

    def __call__(self, before):
        kind = before["kind"]
        return dist.Normal(kind @ self.means, jnp.exp(kind @ self.log_stds))


def normal(x, mean, std):
    return -0.5 * ((x - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)


def listed(table):
    """The ELBO by a sum over the kinds and quadrature over the place."""
    logits, means, log_stds = table
    q = np.exp(logits) / np.exp(logits).sum()
    p = np.exp([0.1, 0.5, -0.3]) / np.exp([0.1, 0.5, -0.3]).sum()
    nodes, shares = np.polynomial.hermite_e.hermegauss(80)
    total = 0.0
    for k in range(3):
        std = np.exp(log_stds[k])
        z = means[k] + std * nodes
        gain = normal(0.8, np.tanh(z), 0.5) + normal(z, MEANS[k], 1.0) - normal(z, means[k], std)
        total += q[k] * (shares @ gain / shares.sum() + np.log(p[k] / q[k]))
    return total


MIXED = {
    "summed": ("known", PerSite({"kind": Enumeration(), "a place": FIRST})),
    "summed, sampled": ("sampled", PerSite({"kind": Enumeration(), "a place": PathDerivative()})),
    "score": (
        "analytic",
        PerSite({"kind": ScoreFunction("leave_one_out"), "a place": FIRST}, draws={"kind": 4}),
    ),
    "rebar": ("analytic", PerSite({"kind": rebar(), "a place": FIRST})),
    "one score for both": ("sampled", ScoreFunction("leave_one_out")),
}


@pytest.mark.parametrize("way", MIXED)
def test_a_discrete_site_and_a_normal_one_by_a_sum_and_quadrature(way, key):
    kl, estimator = MIXED[way]
    found = draws(kinds, ELBO(kl), estimator, jnp.asarray(TABLE), jr.split(key, 10_000), 2)
    within_four_errors(found, (listed(TABLE), differences(listed, TABLE)))


def test_a_relaxed_site_needs_a_divergence_in_closed_form(key):
    relaxed = PerSite({"kind": GumbelSoftmax(0.5), "a place": FIRST})
    keys = jr.split(key, 3)
    for kl in ("analytic", "known"):
        _, slopes = draws(kinds, ELBO(kl), relaxed, jnp.asarray(TABLE), keys)
        assert np.all(np.isfinite(slopes))
        assert np.all(slopes[:, 0] != 0)
    with pytest.raises(ValueError, match="relaxed values"):
        ELBO()(*kinds(jnp.asarray(TABLE)), estimator=relaxed, key=key)


def test_it_is_the_same_eager_compiled_mapped_and_in_batches(key):
    keys = jr.split(key, 2)
    estimator = PerSite({"kind": Enumeration(), "a place": FIRST})
    run = lambda key, size=None: ELBO("known")(
        *kinds(jnp.asarray(TABLE)), estimator=estimator, num_samples=3, batch_size=size, key=key
    )
    eager = [run(k) for k in keys]
    np.testing.assert_allclose(jax.vmap(run)(keys), eager, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(run)(keys[0]), eager[0], rtol=1e-12)
    np.testing.assert_allclose(run(keys[0], 2), eager[0], rtol=1e-12)


@pytest.mark.usefixtures("x32")
def test_in_float32(key):
    params = jnp.asarray(PARAMS, jnp.float32)
    for kl in ("sampled", "analytic", "known"):
        found = jax.vmap(lambda k, kl=kl: ELBO(kl)(*chain(params), key=k))(jr.split(key, 4000))
        assert found.dtype == jnp.float32
        within_four_errors((found,), (closed_form(PARAMS),))


def test_a_joint_distribution_is_one(key):
    _, q = chain(jnp.asarray(PARAMS))
    z = draw(q, key, (5, 2))
    assert jax.tree.map(jnp.shape, z) == {"far": (5, 2), "near": (5, 2)}
    assert is_reparameterised(q)
    discrete = kinds(jnp.asarray(TABLE))[1]
    assert not is_reparameterised(discrete)
    one = jax.tree.map(lambda leaf: leaf[0, 0], z)
    mean, std = PARAMS[2] * one["far"] + PARAMS[3], np.exp(PARAMS[4])
    wanted = normal(one["far"], PARAMS[0], np.exp(PARAMS[1])) + normal(one["near"], mean, std)
    np.testing.assert_allclose(log_prob(q, one), wanted, rtol=1e-12)
    # A site may be joint itself, and its samples a dictionary within one.
    nested = JointDistribution({"pair": q, "next": lambda b: dist.Normal(b["pair"]["near"], 1.0)})
    inner = {"pair": one, "next": one["near"]}
    np.testing.assert_allclose(log_prob(nested, inner), wanted + normal(0, 0, 1), rtol=1e-12)


MODEL, Q = chain(PARAMS)
N01 = dist.Normal(0.0, 1.0)
NOTHING: Any = 3.0
PAIR: dict = {"far": N01, "near": N01}
alone = lambda prior: LatentModel(lambda z: 0.0 * z["far"], JointDistribution({"far": prior}))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda key: JointDistribution({}), "at least one site"),
        (lambda key: JointDistribution(PAIR, given={"far": 0.0}), r"\['far'\].*given"),
        (lambda key: JointDistribution({"far": NOTHING}), "`far` must be a normalised"),
        (
            lambda key: JointDistribution({"far": lambda b: NOTHING}).sample(key),
            "`far` must be a normalised distribution",
        ),
        (lambda key: Q.log_prob({"far": 0.0}), r"sites \['far', 'near'\], got \['far'\]"),
        (lambda key: Q.log_prob(0.0), r"sites \['far', 'near'\], got float"),
        (
            lambda key: LatentModel(
                MODEL.log_likelihood,
                JointDistribution({"far": EnergyPrior(lambda z: -(z**2), N01)}),
            ),
            "has a site that is an `EnergyPrior`",
        ),
        (
            lambda key: ELBO()(MODEL, JointDistribution({"far": N01, "other": N01}), key=key),
            r"sites must be the prior's, \['far', 'near'\].*\['far', 'other'\]",
        ),
        (
            lambda key: ELBO()(
                LatentModel(
                    lambda z: 0.0 * z["far"], JointDistribution({"far": dist.Exponential(1.0)})
                ),
                JointDistribution({"far": N01}),
                key=key,
            ),
            "site 'far': the posterior's support must lie in the prior's",
        ),
        (
            lambda key: ELBO("analytic")(
                LatentModel(
                    lambda z: 0.0 * z["far"], JointDistribution({"far": dist.Cauchy(0.0, 1.0)})
                ),
                JointDistribution({"far": N01}),
                key=key,
            ),
            r"site 'far': there is no closed form for KL\(Normal \|\| Cauchy\)",
        ),
        (
            lambda key: ELBO("analytic")(MODEL, Q, estimator=PathDerivative(), key=key),
            "leaves out the score of a sampled log q",
        ),
        (lambda key: kl_divergence(Q, MODEL.prior), "no closed form for KL.JointDistribution"),
        (
            lambda key: ImportanceWeighted(2)(
                MODEL, Q, estimator=PerSite({"far": FIRST, "near": FIRST}), key=key
            ),
            "PerSite is for one sample of a `JointDistribution`, got a Replicated",
        ),
        (
            lambda key: ELBO()(MODEL, Q, estimator=PerSite({"far": FIRST}), key=key),
            r"`estimators` must be of the sites \['far', 'near'\], got \['far'\]",
        ),
        (lambda key: PerSite({"far": FIRST}, draws={"near": 2}), "`draws` must be of sites"),
        (lambda key: PerSite({"far": FIRST}, draws={"far": 0}), "1 or more, got 0 of 'far'"),
        (
            lambda key: ELBO()(*kinds(jnp.asarray(TABLE)), key=key),
            "needs samples that gradients flow through.*PerSite",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(key)


@pytest.mark.parametrize("bound", [ELBO(), ImportanceWeighted(2)])
def test_parameters_that_cannot_be_held_are_refused(bound, key):
    """A path derivative that held nothing of a lambda would be the total one, without a word."""
    way = PathDerivative() if isinstance(bound, ELBO) else DoublyReparameterised()

    def value(slope):
        later = lambda before: dist.Normal(slope * before["far"], 1.0)
        q = JointDistribution({"far": N01, "near": later})
        return bound(MODEL, q, estimator=way, key=key)

    with pytest.raises(ValueError, match=r"cannot reach those that the function <lambda> closes"):
        jax.grad(value)(0.3)

    def reached(slope):
        later = jax.tree_util.Partial(lambda s, b: dist.Normal(s * b["far"], 1.0), slope)
        q = JointDistribution({"far": N01, "near": later})
        return bound(MODEL, q, estimator=way, key=key)

    assert np.isfinite(jax.grad(reached)(0.3))
