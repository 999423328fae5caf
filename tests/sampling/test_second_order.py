"""Second derivatives of every estimator: right, or an error that says which are."""

import inspect
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from discrete_problems import ONE_HOT, PROBLEMS
from jax.flatten_util import ravel_pytree

from pullback import ode, sampling
from pullback.bounds import ELBO, ImportanceWeighted, LatentModel, sumo
from pullback.calculus import HarmonicTail
from pullback.sampling import (
    DARN,
    AbstractEstimator,
    ActorCritic,
    DoublyReparameterised,
    Enumeration,
    Episodes,
    GumbelSoftmax,
    Lax,
    LaxPolicy,
    MovingAverage,
    MuProp,
    NeuralControlVariate,
    OneHotCategorical,
    PathDerivative,
    Relax,
    RelaxPolicy,
    Reparameterised,
    ScoreFunction,
    StraightThrough,
    act,
    expectation,
    policy_gradient,
    rebar,
)

ONE = jnp.ones(())


def net(size):
    return eqx.nn.MLP(size, "scalar", 6, 1, jnp.tanh, key=jr.key(0))


SCORES = {
    "score": (ScoreFunction(), 2),
    "leave one out": (ScoreFunction("leave_one_out"), 3),
    "constant": (ScoreFunction(jnp.array(-2.5)), 1),
    "moving average": (ScoreFunction(MovingAverage().update(-2.0).value), 1),
}
CONTINUOUS = SCORES | {
    "reparameterised": (Reparameterised(), 1),
    "path": (PathDerivative(), 1),
    "lax": (Lax(NeuralControlVariate(net(1), temperature=None)), 1),
}
WEIGHTED = {
    "reparameterised": (Reparameterised(), 1),
    "doubly": (DoublyReparameterised(), 1),
    "biased path": (PathDerivative(allow_bias=True), 1),
    "leave one out": (ScoreFunction("leave_one_out"), 2),
}
DISCRETE = SCORES | {
    "enumeration": (Enumeration(), 1),
    "rebar": (rebar(temperature=0.7), 1),
    "relax": (Relax(NeuralControlVariate(net(3))), 1),
    "relax, residual": (Relax(NeuralControlVariate(net(3), residual=True)), 1),
}
DISCRETE["muprop"] = (MuProp(0.3), 1)
BIASED = {"gumbel": GumbelSoftmax(0.7), "darn": DARN()}
RAISES = {"straight through": StraightThrough(), "hard": GumbelSoftmax(0.7, hard=True)}


def test_every_estimator_is_asked():
    asked = [each for each, _ in (CONTINUOUS | WEIGHTED | DISCRETE).values()]
    asked += [*BIASED.values(), *RAISES.values()]
    public = {
        found
        for _, found in inspect.getmembers(sampling, inspect.isclass)
        if issubclass(found, AbstractEstimator) and found is not AbstractEstimator
    }
    # It has the derivatives of those that it is made of.
    public -= {sampling.PerSite}
    assert public == {type(each) for each in asked}


def second(loss, x, mode):
    """One second derivative of a scalar, by a pair of modes."""
    forward = lambda f: lambda x: jax.jvp(f, (x,), (ONE,))[1]
    by = {"forward": forward, "reverse": jax.grad}
    return by[mode[0]](by[mode[1]](loss))(x)


MODES = list(itertools.product(("forward", "reverse"), repeat=2))


def within(draws, exact, errors=4.0):
    """The mean of draws `[n, ...]` is `exact`, up to their standard error."""
    standard_error = jnp.std(draws, axis=0) / len(draws) ** 0.5
    assert jnp.all(jnp.abs(jnp.mean(draws, axis=0) - exact) <= errors * standard_error + 1e-9)


MODEL = LatentModel(lambda z: dist.Normal(z, 1.0).log_prob(1.3), dist.Normal(0.0, 1.0))


def bounds_of(bound, estimator, samples):
    def loss(mean, key):
        q = dist.Normal(mean, 0.6)
        return bound(MODEL, q, estimator=estimator, num_samples=samples, key=key)

    return loss


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_elbo_of_a_normal_has_its_curvature(name, key):
    """Minus two, the curvature of log p(x, z), in every pair of modes and by every key alike."""
    loss = bounds_of(ELBO(), *CONTINUOUS[name])
    of = lambda key: jnp.stack([second(lambda m: loss(m, key), jnp.array(0.2), m) for m in MODES])
    found = jax.jit(jax.vmap(of))(jr.split(key, 20_000))
    np.testing.assert_allclose(found, np.broadcast_to(found[:, :1], found.shape), atol=1e-9)
    within(found[:, 0], -2.0)
    assert float(jnp.std(found[:, 0])) < 20


def curvature_of_three():
    """Of E log mean w for three samples, by quadrature over all three."""
    points, weights = np.polynomial.hermite_e.hermegauss(24)
    weights = weights / weights.sum()
    grid = jnp.asarray(np.stack(np.meshgrid(points, points, points), -1).reshape(-1, 3))
    share = jnp.asarray(np.einsum("i,j,k->ijk", weights, weights, weights).ravel())

    def bound(mean):
        z = mean + 0.6 * grid
        log_w = (
            dist.Normal(z, 1.0).log_prob(1.3)
            + dist.Normal(0.0, 1.0).log_prob(z)
            - dist.Normal(mean, 0.6).log_prob(z)
        )
        return jnp.sum(share * (jax.nn.logsumexp(log_w, axis=1) - jnp.log(3.0)))

    return jax.jit(jax.grad(jax.grad(bound)))(jnp.array(0.2))


@pytest.mark.parametrize("name", ["reparameterised", "doubly", "leave one out"])
def test_an_importance_weighted_bound_has_its_curvature(name, key):
    loss = bounds_of(ImportanceWeighted(3), *WEIGHTED[name])
    of = lambda key: jnp.stack([second(lambda m: loss(m, key), jnp.array(0.2), m) for m in MODES])
    found = jax.jit(jax.vmap(of))(jr.split(key, 20_000))
    exact = curvature_of_three()
    np.testing.assert_allclose(exact, -1.253, atol=2e-3)
    within(found[:, 0], exact)
    np.testing.assert_allclose(found, np.broadcast_to(found[:, :1], found.shape), atol=1e-9)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_mixed_derivatives_by_the_integrand_and_by_the_distribution(name, key):
    """E[theta z^2] is theta (mu^2 + s^2), and its mixed derivative at mu = .5 is 1, either way."""
    estimator, samples = CONTINUOUS[name]

    def loss(both, key):
        f = lambda z, q: both[0] * z**2
        q = dist.Normal(both[1], 0.6)
        return expectation(f, q, estimator=estimator, num_samples=samples, key=key)

    of = lambda key: jax.jacfwd(jax.grad(lambda both: loss(both, key)))(jnp.array([1.5, 0.5]))
    found = jax.jit(jax.vmap(of))(jr.split(key, 20_000))
    within(found, jnp.array([[0.0, 1.0], [1.0, 3.0]]))


@pytest.mark.parametrize(("problem", "name"), [
    *(("binary", name) for name in DISCRETE), ("one_hot", "leave one out"), ("one_hot", "rebar"),
    ("one_hot", "muprop"),
])  # fmt: skip
def test_discrete_expectations_have_their_hessian(problem, name, key):
    """By the logits and by what the integrand is made of, against the sum over all outcomes."""
    f, family, logits = PROBLEMS[problem]
    estimator, samples = DISCRETE[name]
    start, back = ravel_pytree((logits, jnp.array(0.7)))

    def loss(flat, key, estimator=estimator):
        logits, weight = back(flat)
        bend = lambda b: jnp.sum(jnp.sin(b + 0.3 * weight) * jnp.arange(b.size).reshape(b.shape))
        g = lambda b, q: f(b, q) + weight**2 * bend(b.astype(float))
        q = family(logits)
        return expectation(g, q, estimator=estimator, num_samples=samples, key=key)

    with jax.numpy_dtype_promotion("standard"):
        exact = jax.jit(jax.hessian(lambda x: loss(x, key, Enumeration())))(start)
        of = lambda key: jax.jacfwd(jax.jacrev(lambda flat: loss(flat, key)))(start)
        found = jax.jit(jax.vmap(of))(jr.split(key, 5000))
    within(found, exact)


@pytest.mark.parametrize("name", ["leave one out", "relax"])
def test_batches_of_samples_and_the_eager_answer_agree(name, key):
    estimator = DISCRETE[name][0]
    f, family, logits = PROBLEMS["binary"]

    def loss(x, batch_size=None):
        q = family(x)
        return expectation(f, q, estimator=estimator, num_samples=4, batch_size=batch_size, key=key)

    parts = jax.jit(lambda x: loss(x, 2))
    with jax.numpy_dtype_promotion("standard"):
        expected = jax.jit(jax.jacrev(jax.grad(loss)))(logits)
        found = [jax.jit(jax.hessian(parts))(logits)]
        found += [jax.jacfwd(jax.grad(loss))(logits)] if name == "leave one out" else []
        for each in found:
            np.testing.assert_allclose(each, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["weighted", "mixed", "discrete"])
def test_second_derivatives_are_the_same_eagerly(name, key):
    """Of one draw each, of which the means are asked above."""
    f, family, logits = PROBLEMS["binary"]

    def mixed(both, key):
        q = dist.Normal(both[1], 0.6)
        return expectation(lambda z, q: both[0] * z**2, q, estimator=ScoreFunction(), key=key)

    loss, at = {
        "weighted": (bounds_of(ImportanceWeighted(3), *WEIGHTED["doubly"]), jnp.array(0.2)),
        "mixed": (mixed, jnp.array([1.5, 0.5])),
        "discrete": (lambda x, key: expectation(f, family(x), estimator=DISCRETE["rebar"][0],
                                                key=key), logits),
    }[name]  # fmt: skip
    of = jax.jacfwd(jax.grad(lambda x: loss(x, key)))
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(of(at), jax.jit(of)(at), rtol=1e-9, atol=1e-12)


def test_a_learned_baseline_is_differentiated_with_the_distribution(key):
    """The gradient of b is b - E f, whose derivative by the logits is that of minus E f."""
    f = lambda z, q: (z - 0.3) ** 2
    slope = lambda x: jax.grad(
        lambda x: expectation(f, dist.BernoulliLogits(x), estimator=Enumeration(), key=key)
    )(x)

    def of_baseline(x, key):
        def loss(b):
            q = dist.BernoulliLogits(x)
            return expectation(f, q, estimator=ScoreFunction(b), num_samples=2, key=key)

        return jax.grad(loss)(jnp.array(0.1))

    with jax.numpy_dtype_promotion("standard"):
        of = lambda key: jax.grad(of_baseline)(jnp.array(0.4), key)
        found = jax.jit(jax.vmap(of))(jr.split(key, 20_000))
        within(found, -slope(jnp.array(0.4)))


def test_a_relaxed_sample_has_the_derivatives_of_the_relaxed_expectation(key):
    """By differences of the gradient at the same noise."""
    _, family, logits = PROBLEMS["binary"]
    smooth = lambda z, q: jnp.sum((z - 0.45) ** 2) + 2 * z[0] * z[2]
    loss = lambda x: expectation(smooth, family(x), estimator=GumbelSoftmax(0.7), key=key)
    gradient, eps = jax.jit(jax.grad(loss)), 1e-5
    differences = [
        (gradient(logits + eps * e) - gradient(logits - eps * e)) / (2 * eps) for e in np.eye(3)
    ]
    np.testing.assert_allclose(jax.jit(jax.hessian(loss))(logits), differences, atol=1e-7)


def test_the_biased_gradient_of_a_line_at_the_sample_has_its_derivative(key):
    """Of z^4 its mean is 2 p (1 - p), and the derivative of that by the logit is asked for."""

    def gradient(x, key):
        f = lambda z, q: z**4
        loss = lambda x: expectation(f, dist.BernoulliLogits(x), estimator=DARN(), key=key)
        return jax.grad(loss)(x)

    of = lambda key: jax.grad(gradient)(jnp.array(0.4), key)
    p = jax.nn.sigmoid(0.4)
    within(jax.jit(jax.vmap(of))(jr.split(key, 20_000)), 2 * p * (1 - p) * (1 - 2 * p))


@pytest.mark.parametrize("name", RAISES)
@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("compiled", [True, False])
def test_straight_through_has_no_second_derivative(name, outer, compiled, key):
    f = lambda z, q: jnp.sum(z**2)

    def loss(x):
        return expectation(f, OneHotCategorical(x), estimator=RAISES[name], key=key)

    of = outer(jax.grad(loss))
    with pytest.raises(ValueError, match=r"straight-through.*`hard=False`.*`Enumeration`"):
        (jax.jit(of) if compiled else of)(ONE_HOT[0])


def test_the_objective_of_a_control_variate_has_one_derivative(key):
    """Together with the estimator it raises; with the estimator held it is right, as above."""
    f, family, logits = PROBLEMS["binary"]

    def loss(both):
        x, estimator = both
        return expectation(f, family(x), estimator=estimator, key=key)

    with jax.numpy_dtype_promotion("standard"):
        jax.jit(jax.grad(loss))((logits, rebar()))
        for outer in (jax.jacfwd, jax.jacrev):
            with pytest.raises(ValueError, match=r"objective.*stop_gradient\(estimator\)"):
                jax.jit(outer(jax.grad(loss)))((logits, rebar()))


def test_the_model_of_a_path_may_hold_a_solver(key):
    """What has a backward pass alone, inside of the integrand: the solution is z e."""

    def loss(mean, estimator):
        def f(z, q):
            end = ode.solve(lambda t, y, args: y, z, jnp.array([0.0, 1.0]), steps=4).ys[-1]
            return jnp.sum(end**2) - q.log_prob(z)

        q = dist.Normal(mean, 0.6)
        return expectation(f, q, estimator=estimator, num_samples=3, key=key)

    found, whole = (
        eqx.filter_jit(jax.grad(loss))(jnp.array(0.2), estimator)
        for estimator in (PathDerivative(), Reparameterised())
    )
    # What is left out is minus the score, whose derivative along the path is none.
    z = jnp.stack([0.2 + 0.6 * jr.normal(k) for k in jr.split(key, 3)])
    np.testing.assert_allclose(found - whole, jnp.mean(z - 0.2) / 0.36, rtol=1e-9)


def test_sumo_has_its_curvature(key):
    """Against differences of the gradient, at the same samples and the same stop."""
    truncation = HarmonicTail(cap=6)
    noise, stop = jr.normal(key, (7,)), jnp.array(3)

    def loss(mean):
        z = mean + 0.6 * noise
        log_w = jax.vmap(MODEL)(z) - dist.Normal(mean, 0.6).log_prob(z)
        return sumo(log_w, stop, truncation)

    gradient, eps = jax.jit(jax.grad(loss)), 1e-5
    difference = (gradient(0.2 + eps) - gradient(0.2 - eps)) / (2 * eps)
    found = jax.jit(lambda m: jnp.stack([second(loss, m, mode) for mode in MODES]))(jnp.array(0.2))
    np.testing.assert_allclose(found, np.full(4, difference), rtol=1e-7)


class Coin(eqx.Module):
    """The second step's policy depends on the first step's outcome."""

    logits: jax.Array

    def __call__(self, state):
        return OneHotCategorical(self.logits * (1 + state))


def returns_of(logits):
    """The expected return: the first arm is worth 1, then 3, and the second step sees the first."""
    first = jax.nn.softmax(logits)
    second = jnp.stack([jax.nn.softmax(2 * logits)[0], jax.nn.softmax(logits)[0]])
    return first[0] + 3 * jnp.sum(first * second)


def episodes_of(policy, keys):
    def one(keys):
        first = act(policy, jnp.zeros(()), key=keys[0])
        state = first[0]
        second = act(policy, state, key=keys[1])
        return jnp.stack([jnp.zeros(()), state]), jnp.stack([first[0], 3 * second[0]])

    states, rewards = jax.lax.stop_gradient(jax.vmap(one)(keys))
    return Episodes(states, keys, rewards, jnp.ones(keys.shape))


def test_a_policy_gradient_is_differentiated_right(key):
    """Of the actor and critic, the gradient and the value; by the sum over both actions."""
    logits = jnp.array([0.3, -0.2])

    def of(logits, keys):
        policy = Coin(logits)
        episodes = episodes_of(policy, keys)
        estimator = ActorCritic(lambda state: 1.5 + state)
        found = policy_gradient(policy, episodes, estimator=estimator, discount=1.0)
        return found.policy.logits, found.value

    keys = jr.split(key, (200, 100, 2))
    second, first = jax.jit(lambda k: jax.lax.map(lambda k: jax.jacfwd(of)(logits, k), k))(keys)
    within(second, jax.hessian(returns_of)(logits))
    within(first, jax.grad(returns_of)(logits))


@pytest.mark.parametrize("estimator", [
    RelaxPolicy(eqx.Partial(lambda z, s: jnp.sum(jnp.tanh(z)))),
    LaxPolicy(eqx.Partial(lambda a, s: jnp.sum(jnp.tanh(a)))),
])  # fmt: skip
def test_policies_with_control_variates_refuse_a_second_derivative(estimator, key):
    def gradient(logits):
        relaxed = isinstance(estimator, RelaxPolicy)
        distribution = OneHotCategorical if relaxed else lambda x: dist.Normal(x, 1.0)
        policy = eqx.Partial(lambda x, s: distribution(x), logits)
        keys = jr.split(key, (3, 2))
        episodes = Episodes(jnp.zeros((3, 2)), keys, jnp.ones((3, 2)), jnp.ones((3, 2)))
        return policy_gradient(policy, episodes, estimator=estimator).policy.args[0]

    assert jnp.all(jnp.isfinite(gradient(jnp.array([0.3, -0.2]))))
    with pytest.raises(ValueError, match="differentiated twice: take `ActorCritic`"):
        jax.jacfwd(gradient)(jnp.array([0.3, -0.2]))
