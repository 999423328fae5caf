"""The bounds on mutual information against closed forms, enumeration and the paper's sums."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp as np_logsumexp
from scipy.stats import norm

from pullback.bounds import (
    ba_lower,
    ba_upper,
    dv,
    infonce,
    interpolated,
    interpolated_ceiling,
    js_nwj,
    leave_one_out_log_mean_exp,
    leave_one_out_upper,
    mine,
    nwj,
    off_diagonal_log_mean_exp,
    pairwise_log_prob,
    tnce,
    tuba,
    uba,
)

# Correlated Gaussians, whose mutual information and optimal critic are known.


def gaussian_scores(key, information, *, dim=20, batch=64):
    """The log-ratio p(y|x) / p(y) of a batch, [i, j] for y_i and x_j."""
    squared = 1 - math.exp(-2 * information / dim)
    x_key, noise_key = jr.split(key)
    x = jr.normal(x_key, (batch, dim))
    y = math.sqrt(squared) * x + math.sqrt(1 - squared) * jr.normal(noise_key, (batch, dim))
    apart = y[:, None] - math.sqrt(squared) * x[None]
    conditional = -0.5 * jnp.sum(apart**2, axis=2) / (1 - squared) + information
    return conditional + 0.5 * jnp.sum(y**2, axis=1)[:, None]


ESTIMATES = {
    "nwj": lambda f: nwj(f + 1),
    "dv": dv,
    "infonce": infonce,
    "I_0.01": lambda f: interpolated(f, jnp.zeros(()), 0.01),
    "I_0.1": lambda f: interpolated(f, jnp.zeros(()), 0.1),
    "I_0.5": lambda f: interpolated(f, jnp.zeros(()), 0.5),
    "l1out": leave_one_out_upper,
}

# Mean and standard deviation over 300 batches, measured in another implementation.
TABLE = {
    2: [(2.01, 0.26), (2.02, 0.26), (1.83, 0.20), (2.01, 0.25), (2.00, 0.24), (1.94, 0.22),
        (2.17, 0.25)],
    6: [(6.07, 0.90), (6.25, 0.64), (3.75, 0.12), (5.79, 0.47), (5.28, 0.28), (4.58, 0.19),
        (7.85, 0.47)],
    10: [(10.3, 1.9), (11.4, 1.4), (4.12, 0.04), (8.37, 0.50), (6.87, 0.18), (5.56, 0.09),
         (16.3, 0.9)],
}  # fmt: skip


@functools.partial(jax.jit, static_argnums=1)
def _estimates(keys, information):
    def of_batch(key):
        scores = gaussian_scores(key, information)
        return jnp.stack([estimate(scores) for estimate in ESTIMATES.values()])

    return jax.lax.map(of_batch, keys)


@pytest.mark.parametrize("information", [2, 6, 10])
def test_estimates_at_the_optimal_critic_are_those_of_the_table(information):
    found = np.asarray(_estimates(jr.split(jr.key(information), 300), float(information)))
    for name, values, (mean, sd) in zip(ESTIMATES, found.T, TABLE[information], strict=True):
        if name == "nwj" and information > 2:
            continue  # see the next test
        # Four standard errors, and what the table's rounding leaves open.
        rounding = 0.05 if mean >= 10 else 0.005
        assert abs(values.mean() - mean) < 4 * sd / math.sqrt(300) + rounding, name
        assert abs(values.std(ddof=1) / sd - 1) < 0.25, name
    by_name = dict(zip(ESTIMATES, found.mean(axis=0), strict=True))
    assert by_name["infonce"] < information < by_name["l1out"]
    # Rare pairs hold the mean of NWJ down to the truth; most batches lie above it.
    assert information < np.median(found[:, 0]) + 0.1 < information + 1


def test_no_300_batches_tell_the_spread_of_nwj_at_six_nats():
    r"""Its second term has the variance of the ratio over the number of pairs, or more.

    Under the product of marginals the ratio r has $E[r^2] = \prod_d 1 / (1 - \rho_d^2) = e^{2 I}$;
    with 64 * 63 pairs that is a deviation of at least 6.3 at I = 6, and 347 at I = 10. The table's
    0.90 and 1.9 are what one draw of 300 batches showed: other draws show 1.0 to 1.4, and 1.8 to 5.
    """
    rho = 0.6
    points, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    apart = points[:, None] - rho * points[None]
    ratio = np.exp((points[:, None] ** 2 - apart**2 / (1 - rho**2)) / 2) / math.sqrt(1 - rho**2)
    np.testing.assert_allclose(weights @ ratio @ weights, 1, rtol=1e-6)
    np.testing.assert_allclose(weights @ ratio**2 @ weights, 1 / (1 - rho**2), rtol=1e-4)
    assert math.exp(6) / math.sqrt(64 * 63) > 6 * 0.9
    assert math.exp(10) / math.sqrt(64 * 63) > 180 * 1.9


# A pair of small discrete variables, all batches of which can be gone through.

PAIR = np.array([[0.20, 0.05, 0.10], [0.05, 0.35, 0.25]])  # p(x, y)
CELLS = list(itertools.product(range(2), range(3)))


def mutual_information(pair):
    return float(np.sum(pair * np.log(pair / np.outer(pair.sum(1), pair.sum(0)))))


def log_ratio(pair):
    return jnp.asarray(np.log(pair / np.outer(pair.sum(1), pair.sum(0))))


def all_batches(pair, batch):
    """Every batch, and its probability."""
    cells = np.array(list(np.ndindex(pair.shape)))
    chosen = np.array(list(itertools.product(range(len(cells)), repeat=batch)))
    weights = np.prod(pair.ravel()[chosen], axis=1)
    return jnp.asarray(cells[chosen]), jnp.asarray(weights)


def expectation(estimate, pair, batch):
    """Of the estimate and its gradient by the critic's table, over every batch."""
    batches, weights = all_batches(pair, batch)

    def expected(critic):
        def of_batch(cells):
            return estimate(critic[cells[:, 0][None], cells[:, 1][:, None]], cells[:, 1])

        return jnp.vdot(weights, jax.vmap(of_batch)(batches))

    return jax.jit(jax.value_and_grad(expected))


CRITIC = jnp.asarray([[0.3, -0.8, 0.1], [-0.4, 0.9, 1.2]])
BASELINE = jnp.asarray([0.2, -0.3, 0.7])


def population_interpolated(critic, pair, k, alpha):
    """The paper's sum over x_1, ..., x_K and y."""
    of_x, of_y = pair.sum(1), pair.sum(0)
    total = 1.0
    for xs in itertools.product(range(2), repeat=k):
        others = np.prod([of_x[x] for x in xs[1:]])
        for y in range(3):
            mean = sum(jnp.exp(critic[x, y]) for x in xs) / k
            log_a = jnp.log(alpha * mean + (1 - alpha) * jnp.exp(BASELINE[y]))
            first = critic[xs[0], y] - log_a
            total += others * pair[xs[0], y] * first
            total -= others * of_x[xs[0]] * of_y[y] * jnp.exp(first)
    return total


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_interpolated_and_its_gradient_are_unbiased_for_their_own_batch_size(alpha):
    """And for no other: the bound depends on K, so a larger batch has another gradient."""
    estimate = lambda scores, y: interpolated(scores, BASELINE[y], alpha)
    value, gradient = expectation(estimate, PAIR, 3)(CRITIC)
    truth = jax.value_and_grad(functools.partial(population_interpolated, pair=PAIR, alpha=alpha))
    right, at_k1 = truth(CRITIC, k=2), truth(CRITIC, k=1)
    np.testing.assert_allclose(value, right[0], atol=1e-12)
    np.testing.assert_allclose(gradient, right[1], atol=1e-12)
    moved = float(jnp.max(jnp.abs(at_k1[1] - right[1])))
    assert moved < 1e-12 if alpha == 0 else moved > 1e-3


def test_tuba_and_nwj_and_their_gradients_are_unbiased():
    product = np.outer(PAIR.sum(1), PAIR.sum(0))

    def population(critic, log_a):
        shifted = critic - log_a[None]
        return 1 + jnp.sum(PAIR * shifted) - jnp.sum(product * jnp.exp(shifted))

    for estimate, log_a in (
        (lambda scores, y: tuba(scores, BASELINE[y]), BASELINE),
        (lambda scores, y: nwj(scores), jnp.ones(3)),
    ):
        found = expectation(estimate, PAIR, 2)(CRITIC)
        expected = jax.value_and_grad(population)(CRITIC, log_a)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


def donsker_varadhan(critic):
    product = np.outer(PAIR.sum(1), PAIR.sum(0))
    return jnp.sum(PAIR * critic) - jnp.log(jnp.sum(product * jnp.exp(critic)))


def test_dv_is_biased_upwards_and_mines_average_takes_the_bias_off_the_gradient():
    truth, right = jax.value_and_grad(donsker_varadhan)(CRITIC)
    value, gradient = expectation(lambda scores, y: dv(scores), PAIR, 2)(CRITIC)
    assert value > truth + 0.1
    bias = float(jnp.max(jnp.abs(gradient - right)))
    assert bias > 0.05

    def step(log_average, key):
        cells = jr.choice(key, jnp.asarray(CELLS), (2,), p=jnp.asarray(PAIR.ravel()))

        def value(critic):
            scores = critic[cells[:, 0][None], cells[:, 1][:, None]]
            return mine(scores, log_average, rate=0.003)

        (_, later), gradient = jax.value_and_grad(value, has_aux=True)(CRITIC)
        return later, gradient

    gradients = jax.jit(lambda keys: jax.lax.scan(step, jnp.asarray(-jnp.inf), keys)[1])(
        jr.split(jr.key(0), 40_000)
    )
    settled = np.asarray(gradients[2000:])
    # Means of stretches as long as the average remembers several times are nearly independent.
    stretches = settled.reshape(19, 2000, *CRITIC.shape).mean(axis=1)
    error = np.abs(stretches.mean(axis=0) - right)
    standard_error = stretches.std(axis=0, ddof=1) / math.sqrt(19)
    # A fiftieth of what is taken off: the batch's own share in the average leaves a bias.
    assert np.all(error < 4 * standard_error + bias / 50)
    assert np.max(4 * standard_error) < bias / 3


def test_mine_starts_at_the_batch_and_at_rate_one_is_dv():
    scores = jr.normal(jr.key(0), (5, 5))
    value, log_average = mine(scores, jnp.asarray(-jnp.inf), rate=0.1)
    np.testing.assert_allclose(value, dv(scores))
    np.testing.assert_allclose(log_average, off_diagonal_log_mean_exp(scores))
    later = mine(scores, jnp.asarray(1.5), rate=0.1).log_average
    np.testing.assert_allclose(
        np.exp(later), 0.9 * np.exp(1.5) + 0.1 * np.exp(off_diagonal_log_mean_exp(scores))
    )
    of_mine = jax.grad(lambda f: mine(f, jnp.asarray(1.5), rate=1).value)(scores)
    np.testing.assert_allclose(of_mine, jax.grad(dv)(scores), atol=1e-14)


@pytest.mark.parametrize("log_average", [-np.inf, 0.4])
def test_the_average_of_mine_moves_with_the_critic_in_a_second_derivative(log_average):
    scores = jnp.asarray(np.random.default_rng(3).normal(size=(3, 3)))
    value = lambda f: mine(f, jnp.asarray(log_average), rate=0.2).value
    later = mine(scores, jnp.asarray(log_average), rate=0.2).log_average
    # Of -log(e) by the scores off the diagonal, where e moves as the mean of their exponentials.
    shares = np.exp(scores - later) * (1 - np.eye(3)) / 6
    want = np.outer(shares, shares) - np.diag(shares.ravel())
    for found in (jax.hessian(value), jax.jit(jax.jacrev(jax.grad(value)))):
        np.testing.assert_allclose(found(scores).reshape(9, 9), want, atol=1e-14)
    if np.isinf(log_average):
        np.testing.assert_allclose(jax.hessian(dv)(scores).reshape(9, 9), want, atol=1e-14)


# A table of 16 cells with counts, at the optimal critic.

COUNTS = np.array([[9, 1, 2, 1], [1, 12, 1, 2], [2, 1, 14, 1], [1, 2, 3, 11]])


def test_at_the_optimal_critic_the_population_values_are_the_mutual_information():
    pair = COUNTS / COUNTS.sum()
    truth, ratio = mutual_information(pair), log_ratio(pair)
    value, _ = expectation(lambda scores, y: nwj(scores + 1), pair, 2)(ratio)
    np.testing.assert_allclose(value, truth, atol=1e-12)
    value, _ = expectation(lambda scores, y: js_nwj(scores), pair, 2)(ratio)
    np.testing.assert_allclose(value, truth, atol=1e-12)
    # The counted cells themselves as the sample.
    x, y = np.repeat(np.array(list(np.ndindex(4, 4))), COUNTS.ravel(), axis=0).T
    of_x, of_y = pair.sum(1), pair.sum(0)
    scores = ratio[x[None], y[:, None]]
    own = jnp.asarray(np.log(pair / of_x[:, None])[x, y])
    np.testing.assert_allclose(ba_upper(own, jnp.log(of_y)[y]), truth, atol=1e-12)
    entropy = -float(of_x @ np.log(of_x))
    posterior = jnp.asarray(np.log(pair / of_y[None])[x, y])
    np.testing.assert_allclose(ba_lower(posterior, entropy), truth, atol=1e-12)
    shifted = jnp.diagonal(scores) + jnp.asarray(of_y)[y]
    np.testing.assert_allclose(uba(shifted, jnp.asarray(of_y)[y]), truth, atol=1e-12)
    # All pairs have a mean ratio of 1; without the n on the diagonal the others make up for them.
    n, joint = len(x), float(np.sum(pair * np.exp(ratio)))
    np.testing.assert_allclose(dv(scores), truth - np.log((n - joint) / (n - 1)), atol=1e-12)


def test_other_critics_posteriors_and_marginals_are_worse():
    pair = COUNTS / COUNTS.sum()
    truth = mutual_information(pair)
    other = log_ratio(pair) + jr.normal(jr.key(1), (4, 4))
    assert expectation(lambda scores, y: nwj(scores), pair, 2)(other)[0] < truth - 0.01
    assert donsker_varadhan(CRITIC) < mutual_information(PAIR)


def test_tnce_and_leave_one_out_enclose_the_truth_exactly():
    log_p = jnp.asarray(np.log(PAIR / PAIR.sum(1, keepdims=True)))
    truth = mutual_information(PAIR)
    below = [expectation(lambda s, y: tnce(s), PAIR, b)(log_p)[0] for b in (2, 4)]
    above = [expectation(lambda s, y: leave_one_out_upper(s), PAIR, b)(log_p)[0] for b in (2, 4)]
    assert below[0] < below[1] < truth < above[1] < above[0]
    # The upper one at three pairs, by the paper's sum.
    of_x, total = PAIR.sum(1), 0.0
    for (x, y), a, b in itertools.product(CELLS, range(2), range(2)):
        others = np.log((np.exp(log_p[a, y]) + np.exp(log_p[b, y])) / 2)
        total += PAIR[x, y] * of_x[a] * of_x[b] * (log_p[x, y] - others)
    found, _ = expectation(lambda s, y: leave_one_out_upper(s), PAIR, 3)(log_p)
    np.testing.assert_allclose(found, total, atol=1e-12)


# Numerics, against the O(B^3) sum over a mask.


def masked(scores, extra, log_weight):
    """[i, j] = log( e^w sum_{l != j} e^{F_il} + e^extra_i ), one set of terms after another."""
    k = scores.shape[1]
    out = np.empty(scores.shape)
    for i, j in np.ndindex(*scores.shape):
        terms = [scores[i, other] + log_weight for other in range(k) if other != j]
        out[i, j] = np_logsumexp([*terms, extra[i]])
    return out


def hard_scores(dtype):
    """Scores of +-50 with rows in which one entry stands out, two are tied, or all are."""
    scores = 50 * np.asarray(jr.uniform(jr.key(3), (9, 9), minval=-1.0, maxval=1.0))
    scores[0], scores[0, 4] = -50, 50
    scores[1], scores[1, 1] = -50, 50
    scores[2] = 7
    scores[3, [2, 6]] = 50
    return jnp.asarray(scores, dtype)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 2e-5), (np.float64, 1e-12)])
def test_leaving_one_out_loses_no_digits(dtype, atol):
    scores = hard_scores(dtype)
    expected = masked(np.asarray(scores, float), np.full(9, -np.inf), -math.log(8))
    found = leave_one_out_log_mean_exp(scores)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, atol=atol)


def naive_interpolated(scores, log_q, alpha):
    """The spec's lines, with every set of K written out."""
    b = len(scores)
    keep = ~np.eye(b, dtype=bool)
    terms = jnp.where(keep[None], scores[:, None, :], -jnp.inf)
    loo = jax.scipy.special.logsumexp(terms, axis=2) - math.log(b - 1)
    base = jnp.logaddexp(np.log(alpha) + loo, np.log1p(-alpha) + log_q[:, None])
    own = jnp.diagonal(scores)
    joint = jnp.sum(jnp.where(keep, own[:, None] - base, 0)) / (b * (b - 1))
    ratio = jnp.where(keep, scores - jnp.diagonal(base)[:, None], -jnp.inf)
    return 1 + joint - jnp.sum(jnp.exp(ratio)) / (b * (b - 1))


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("alpha", [0.01, 0.5, 0.999])
def test_interpolated_and_its_gradients_are_those_of_the_written_out_sum(alpha, hard):
    scores = hard_scores(np.float64) if hard else jr.normal(jr.key(4), (9, 9))
    log_q = jr.normal(jr.key(5), (9,))
    both = lambda f: jax.value_and_grad(f, argnums=(0, 1))(scores, log_q, alpha)
    found, expected = both(interpolated), both(naive_interpolated)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("alpha", [0.0, 0.01, 1.0])
def test_gradients_are_finite_at_hard_scores_in_float32(alpha):
    scores, baseline = hard_scores(np.float32), jnp.zeros(9, np.float32)
    every = {
        "interpolated": lambda f, q: interpolated(f, q, alpha),
        "infonce": lambda f, q: infonce(f),
        "tuba": lambda f, q: tuba(f, q),
        "dv": lambda f, q: dv(f),
        "js": lambda f, q: js_nwj(f - 20),
        "mine": lambda f, q: mine(f, jnp.asarray(3.0, np.float32)).value,
        "upper": lambda f, q: leave_one_out_upper(f),
        "loo": lambda f, q: jnp.sum(leave_one_out_log_mean_exp(f)),
    }
    for name, estimate in every.items():
        value, gradients = jax.value_and_grad(estimate, argnums=(0, 1))(scores, baseline)
        assert np.isfinite(value), name
        assert all(np.all(np.isfinite(g)) for g in gradients), name
        assert value.dtype == np.float32, name


# Distributions.

SQUARES = arrays(np.float64, (5, 5), elements=st.floats(-60, 60, width=32))


@settings(max_examples=60, deadline=None)
@given(scores=SQUARES, baseline=st.floats(-60, 60), alpha=st.floats(1e-3, 1))
def test_no_scores_exceed_the_ceilings(scores, baseline, alpha):
    by_nce, between = _bounded(jnp.asarray(scores), jnp.asarray(baseline), jnp.asarray(alpha))
    assert by_nce <= math.log(5) + 1e-9
    assert between <= interpolated_ceiling(5, alpha) + 1e-9


@jax.jit
def _bounded(scores, baseline, alpha):
    return infonce(scores), interpolated(scores, baseline, alpha)


def test_the_ceilings_are_reached():
    perfect = 200 * jnp.eye(6)
    np.testing.assert_allclose(infonce(perfect), math.log(6))
    low = jnp.asarray(-900.0)
    found = interpolated(perfect, low, 0.3)
    # The sets without x_i have no share of e^F_ii; there are none in `joint`, all are in `marg`.
    assert interpolated_ceiling(6, 0.3) - 1 / 0.3 - 1e-6 < found < interpolated_ceiling(6, 0.3)
    found = interpolated(perfect, jnp.asarray(50.0), 0.3)
    np.testing.assert_allclose(found, interpolated_ceiling(6, 0.3), rtol=1e-9)
    assert interpolated_ceiling(6, 0) == math.inf


def test_the_ends_of_alpha_and_the_order_of_the_batch():
    scores, log_q = 3 * jr.normal(jr.key(6), (7, 7)), jr.normal(jr.key(7), (7,))
    np.testing.assert_allclose(interpolated(scores, log_q, 0.0), tuba(scores, log_q))
    np.testing.assert_allclose(interpolated(scores, log_q, 1e-9), tuba(scores, log_q), atol=1e-5)
    loo = masked(np.asarray(scores), np.full(7, -np.inf), -math.log(6))
    keep = ~np.eye(7, dtype=bool)
    joint = np.mean((np.diagonal(scores)[:, None] - loo)[keep])
    np.testing.assert_allclose(interpolated(scores, log_q, 1.0), joint, atol=1e-12)
    order = jr.permutation(jr.key(8), 7)
    for alpha in (0.0, 0.2, 1.0):
        np.testing.assert_allclose(
            interpolated(scores[order][:, order], log_q[order], alpha),
            interpolated(scores, log_q, alpha),
            rtol=1e-12,
        )


def test_interpolated_takes_one_exponential_and_one_logarithm_an_entry():
    """With its gradient too; counted by the compiler, for there is no other way to be sure."""
    shape = jax.ShapeDtypeStruct((128, 128), np.float32)
    both = jax.value_and_grad(lambda scores: interpolated(scores, jnp.zeros((), np.float32), 0.01))
    cost = jax.jit(both).lower(shape).cost_analysis()
    assert cost is not None
    assert cost["transcendentals"] / 128**2 < 2.5
    assert cost["flops"] / 128**2 < 40


def test_alpha_may_be_traced():
    scores, log_q = jr.normal(jr.key(6), (4, 4)), jnp.zeros(4)
    alphas = jnp.asarray([0.0, 0.3, 1.0])
    found = jax.vmap(lambda a: interpolated(scores, log_q, a))(alphas)
    np.testing.assert_allclose(found, [interpolated(scores, log_q, float(a)) for a in alphas])


def test_what_a_shift_of_the_scores_does():
    scores, shift = jr.normal(jr.key(9), (6, 6)), jr.normal(jr.key(10), (6,))
    of_y = scores + shift[:, None]
    np.testing.assert_allclose(infonce(of_y), infonce(scores))
    np.testing.assert_allclose(tnce(of_y), tnce(scores))
    np.testing.assert_allclose(leave_one_out_upper(of_y), leave_one_out_upper(scores))
    np.testing.assert_allclose(dv(scores + 3), dv(scores))
    # A shift by x is no matter of indifference: this is what the axes are for.
    assert abs(infonce(scores + shift[None]) - infonce(scores)) > 0.1
    assert abs(nwj(scores + 3) - nwj(scores)) > 1
    # With the baseline moved along, all is as before.
    for estimate in (tuba, functools.partial(interpolated, alpha=0.2)):
        np.testing.assert_allclose(estimate(of_y, shift), estimate(scores, jnp.zeros(6)))
    # NWJ at f in place of f + 1 loses 1 / e at the optimum of independence.
    np.testing.assert_allclose(nwj(jnp.zeros((4, 4))), -math.exp(-1))


def test_js_has_the_gradient_of_the_jensen_shannon_objective():
    scores = 2 * jr.normal(jr.key(11), (5, 5))

    def objective(scores):
        total = 0.0
        for i, j in np.ndindex(5, 5):
            own = -jnp.log1p(jnp.exp(-scores[i, j])) / 5
            total += own if i == j else -jnp.log1p(jnp.exp(scores[i, j])) / 20
        return total

    value, gradient = jax.value_and_grad(js_nwj)(scores)
    np.testing.assert_allclose(gradient, jax.grad(objective)(scores), atol=1e-12)
    np.testing.assert_allclose(value, nwj(scores + 1), atol=1e-12)


def test_all_pairs_of_a_conditional():
    x, y = np.array([0.0, 1.0, 2.0]), np.array([[0.5, 1.0], [2.0, -1.0]])
    expected = np.array([[norm.logpdf(one, loc=2 * mean) for mean in x] for one in y])
    with jax.numpy_dtype_promotion("standard"):
        channel = lambda mean: dist.Normal(jnp.full(2, 2 * mean), 1.0)
        apart = pairwise_log_prob(channel, jnp.asarray(x), jnp.asarray(y))
        np.testing.assert_allclose(apart, expected)
        assert apart.shape == (2, 3, 2)
        # As an encoder has given its parameters, each x a pair of them.
        params = (jnp.asarray(2 * x), jnp.ones(3))
        whole = lambda p: dist.Normal(jnp.full(2, p[0]), p[1]).to_event(1)
        together = pairwise_log_prob(whole, params, jnp.asarray(y))
    np.testing.assert_allclose(together, expected.sum(axis=2))


@pytest.mark.parametrize("bound", [infonce, nwj, dv, js_nwj, tnce, leave_one_out_upper])
def test_a_matrix_that_is_no_batch_is_refused(bound):
    name = "log_conditional" if bound in (tnce, leave_one_out_upper) else "scores"
    with pytest.raises(ValueError, match=rf"`{name}` must be square.*got the shape \[3, 4\]"):
        bound(jnp.zeros((3, 4)))
    with pytest.raises(ValueError, match=f"`{name}` must hold 2 or more pairs, got 1"):
        bound(jnp.zeros((1, 1)))


def test_other_arguments_that_make_no_sense_are_refused():
    scores = jnp.zeros((3, 3))
    with pytest.raises(ValueError, match=r"`log_baseline` must have one number.*shape \[3\]"):
        tuba(scores, jnp.zeros(4))
    with pytest.raises(ValueError, match=r"`log_baseline` .*got the shape \[1\]"):
        interpolated(scores, jnp.zeros(1), 0.5)
    for alpha in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"`alpha` must be in \[0, 1\], got"):
            interpolated(scores, jnp.zeros(3), alpha)
    with pytest.raises(ValueError, match=r"`rate` must be in \(0, 1\], got 0"):
        mine(scores, jnp.zeros(()), rate=0)
    with pytest.raises(ValueError, match="`scores` must have 2 or more entries a row"):
        leave_one_out_log_mean_exp(jnp.zeros((3, 1)))
