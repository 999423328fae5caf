"""The aggregate posterior and the divergence in three parts, against sums and closed forms."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from pullback.bounds import (
    BatchTerms,
    Beta,
    FullCovarianceNormal,
    TotalCorrelation,
    aggregate_log_prob,
    aggregate_log_weights,
    aggregate_samples,
    exact_total_correlation_split,
    pairwise_marginal_log_prob,
    total_correlation_split,
)
from pullback.sampling import StandardNormal

pytestmark = pytest.mark.usefixtures("promotion")

KINDS = ("symmetric", "stratified", "weighted")
N, D = 2000, 4


def posterior_of(mean, std):
    return jax.vmap(lambda m, s: dist.Normal(m, s).to_event(1))(mean, std)


def standard_normal(d, dtype=float):
    return dist.Normal(jnp.zeros(d, dtype), jnp.ones(d, dtype)).to_event(1)


def population(rng):
    """Encoders of a data set whose latents are correlated, and that tell the examples apart."""
    mean = rng.normal(size=(N, D))
    mean[:, 1] = 0.5 * mean[:, 0] + math.sqrt(0.75) * mean[:, 1]
    return 0.9 * mean, np.exp(rng.normal(scale=0.2, size=(N, D))) * 0.35


def official_matrix(batch, size):
    """As the authors' code has it: the flat matrix is strided by B where B + 1 was meant."""
    m = batch - 1
    w = np.full((batch, batch), 1 / m)
    w.reshape(-1)[::batch] = 1 / size
    w.reshape(-1)[1::batch] = (size - m) / (size * m)
    w[m - 1, 0] = (size - m) / (size * m)
    return np.log(w)


def by_hand(z, mean, std, log_weights):
    """log q(z) and log q(z_d) in NumPy."""
    table = norm.logpdf(z[:, None], mean[None], std[None])
    joint = logsumexp(table.sum(axis=2) + log_weights, axis=1)
    return np.asarray(joint), np.asarray(logsumexp(table + log_weights[..., None], axis=1))


@jax.jit
def split_of(mean, std, z, weights):
    """The three parts where the prior is standard normal."""
    prior = standard_normal(z.shape[1], z.dtype)
    return total_correlation_split(posterior_of(mean, std), z, prior, weights)


@pytest.mark.parametrize("batch", [2, 3, 7])
def test_the_weights_of_a_batch_are_those_of_the_paper(batch):
    size, m = 20, batch - 1
    symmetric, stratified, weighted = (
        np.exp(aggregate_log_weights(batch, size, kind)) for kind in KINDS
    )
    np.testing.assert_allclose(np.diag(symmetric), 1 / size)
    np.testing.assert_allclose(symmetric.sum(axis=1), 1)
    off = symmetric[~np.eye(batch, dtype=bool)]
    np.testing.assert_allclose(off, off[0])
    np.testing.assert_allclose(np.diag(stratified), 1 / size)
    np.testing.assert_allclose(stratified.sum(axis=1), 1)
    for row in stratified:
        others = np.sort(row)[::-1][: m - 1]
        np.testing.assert_allclose(others, 1 / m)
        assert np.isclose(row, (size - m) / (size * m)).sum() == 1
    np.testing.assert_allclose(weighted, 1 / (size * batch))
    np.testing.assert_allclose(np.exp(aggregate_log_weights(batch, batch, "exact")), 1 / batch)
    # A batch that is everything needs no estimate.
    np.testing.assert_allclose(
        aggregate_log_weights(batch, batch), aggregate_log_weights(batch, batch, "exact")
    )


@pytest.mark.parametrize(("batch", "kinds"), [(64, KINDS[:2]), (256, KINDS[:2])])
def test_the_estimate_of_the_density_is_unbiased_and_that_of_the_official_matrix_is_not(
    batch, kinds
):
    """150 batches; a band of 4 standard errors of their means."""
    rng = np.random.default_rng(0)
    mean, std = population(rng)
    weights = {kind: aggregate_log_weights(batch, N, kind) for kind in kinds}
    weights["official"] = jnp.asarray(official_matrix(batch, N))
    weights["average"] = jnp.full((batch, batch), -math.log(batch))

    @jax.jit
    def densities(mean, std, z):
        posterior = posterior_of(mean, std)
        return {name: aggregate_log_prob(posterior, z, w).joint for name, w in weights.items()}

    ratios = {name: [] for name in weights}
    for _ in range(150):
        rows = rng.permutation(N)[:batch]
        z = mean[rows] + std[rows] * rng.normal(size=(batch, D))
        # A few of the batch suffice: exact densities are dear.
        exact, _ = by_hand(z[:8], mean, std, np.full(N, -math.log(N)))
        found = densities(*map(jnp.asarray, (mean[rows], std[rows], z)))
        for name in weights:
            ratios[name].append(np.mean(np.exp(found[name][:8] - exact)))
    found = {name: np.mean(values) for name, values in ratios.items()}
    errors = {name: np.std(values, ddof=1) / math.sqrt(150) for name, values in ratios.items()}
    for kind in kinds:
        assert abs(found[kind] - 1) < 4 * errors[kind], kind
    # Its own term has a weight of about 1/B where 1/N belongs: the official one is a plain mean.
    # (The first rows, in whose columns the misplaced weights lie, are a few of many.)
    assert found["average"] - 1 > 8 * errors["average"]
    assert found["official"] - 1 > 8 * errors["official"]


def test_the_official_matrix_gives_the_plain_mean():
    """All three parts, to a few hundredths of a nat, whereas the unbiased ones are elsewhere."""
    rng = np.random.default_rng(1)
    batch = 256
    mean, std = (values[:batch] for values in population(rng))
    z = mean + std * rng.normal(size=mean.shape)
    of = lambda weights: split_of(jnp.asarray(mean), jnp.asarray(std), jnp.asarray(z), weights)
    official, average, right = map(
        of,
        (
            jnp.asarray(official_matrix(batch, N)),
            -jnp.log(float(batch)),
            aggregate_log_weights(batch, N, "stratified"),
        ),
    )
    assert abs(official.total_correlation - average.total_correlation) < 0.02
    assert abs(official.mutual_information - average.mutual_information) < 0.02
    assert right.mutual_information - average.mutual_information > 0.1


def batch_of(size=24, d=3, dtype=float):
    rng = np.random.default_rng(2)
    mean, log_std = rng.normal(size=(size, d)), rng.normal(size=(size, d)) - 1
    z = mean + np.exp(log_std) * rng.normal(size=(size, d))
    return [jnp.asarray(each, dtype) for each in (mean, jnp.exp(log_std), z)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_three_parts_sum_to_the_sampled_divergence(kind, dtype):
    mean, std, z = batch_of(dtype=dtype)
    split = split_of(mean, std, z, aggregate_log_weights(24, 900, kind))
    assert {part.dtype for part in split} == {jnp.dtype(dtype)}
    rate = norm.logpdf(z, mean, std).sum(axis=1) - norm.logpdf(z).sum(axis=1)
    np.testing.assert_allclose(split.rate, rate.mean(), rtol=1e-5)


def test_the_parts_are_those_of_a_sum_over_all_pairs():
    mean, std, z = batch_of()
    weights = aggregate_log_weights(24, 900, "stratified")
    split = split_of(mean, std, z, weights)
    joint, marginals = by_hand(*map(np.asarray, (z, mean, std, weights)))
    own = norm.logpdf(z, mean, std).sum(axis=1)
    np.testing.assert_allclose(split.mutual_information, (own - joint).mean())
    np.testing.assert_allclose(split.total_correlation, (joint - marginals.sum(axis=1)).mean())


def test_the_published_weights_are_off_by_known_constants_and_have_the_gradient_of_the_mean():
    mean, std, z = batch_of()
    noise = (z - mean) / std

    @jax.jit
    def parts(params, weights):
        mean, std = params
        return jnp.stack(split_of(mean, std, mean + std * noise, weights))

    published = aggregate_log_weights(24, 900, "weighted")
    average = jnp.full((24, 24), -math.log(24))
    apart = parts((mean, std), published) - parts((mean, std), average)
    np.testing.assert_allclose(apart, np.array([1, 2, -3]) * math.log(900), atol=1e-10)
    jacobian = jax.jit(jax.jacobian(parts))
    slopes = [jacobian((mean, std), weights) for weights in (published, average)]
    for one, other in zip(*map(jax.tree.leaves, slopes), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_rows_at_a_time_give_the_same_and_the_same_gradient():
    mean, std, z = batch_of()
    weights = aggregate_log_weights(24, 900)

    def value(params, batch_size):
        split = total_correlation_split(
            posterior_of(*params), z, standard_normal(3), weights, batch_size=batch_size
        )
        return split.total_correlation - 2 * split.mutual_information

    both = jax.jit(jax.value_and_grad(value), static_argnums=1)
    whole, some = (both((mean, std), batch_size) for batch_size in (None, 7))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(some), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    step = 1e-5
    moved = [both((mean + sign * step * jnp.ones_like(mean).at[3:].set(0), std), None)[0]
             for sign in (1, -1)]  # fmt: skip
    slope = (moved[0] - moved[1]) / (2 * step)
    np.testing.assert_allclose(jnp.sum(whole[1][0][:3]), slope, rtol=1e-6)


def test_the_table_of_a_large_batch_stays_small_with_its_gradient():
    """2,048 examples, 10 latents: the whole table is 168 MB, and its gradient holds several."""
    batch, d = 2048, 10

    def value(mean, std, z):
        weights = aggregate_log_weights(batch, 737_280).astype(jnp.float32)
        split = total_correlation_split(
            posterior_of(mean, std), z, standard_normal(d), weights, batch_size=64
        )
        return split.total_correlation

    shape = jax.ShapeDtypeStruct((batch, d), jnp.float32)
    program = jax.jit(jax.grad(value, argnums=(0, 1, 2))).lower(shape, shape, shape).compile()
    analysis = program.memory_analysis()
    assert analysis is not None
    assert analysis.temp_size_in_bytes < 200e6


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_many_examples_have_the_total_correlation_of_a_normal(rho):
    """Means and noise together are normal with known covariance: 5,000 examples, 0.05 nats."""
    size, std = 5000, 0.5
    rng = np.random.default_rng(3)
    x = rng.normal(size=(size, 2))
    x[:, 1] = rho * x[:, 0] + math.sqrt(1 - rho**2) * x[:, 1]
    split = exact_total_correlation_split(
        posterior_of(jnp.asarray(x), jnp.full((size, 2), std)), standard_normal(2),
        num_samples=4000, batch_size=200, key=jr.key(0),
    )  # fmt: skip
    variance = 1 + std**2
    mixed = (rho / variance) ** 2
    assert abs(split.total_correlation + 0.5 * math.log(1 - mixed)) < 0.05
    information = 0.5 * math.log((variance**2 - rho**2) / std**4)
    assert abs(split.mutual_information - information) < 0.05
    apart = 2 * 0.5 * (variance - 1 - math.log(variance))
    assert abs(split.dimension_wise_kl - apart) < 0.05


def test_exact_is_the_sum_over_the_whole_data_set():
    mean, std, _ = batch_of()
    posterior = posterior_of(mean, std)
    key = jr.key(5)
    split = exact_total_correlation_split(posterior, standard_normal(3), num_samples=60, key=key)
    places, z = map(np.asarray, aggregate_samples(posterior, 60, key=key))
    joint, marginals = by_hand(z, np.asarray(mean), np.asarray(std), np.full(24, -math.log(24)))
    np.testing.assert_allclose(split.total_correlation, (joint - marginals.sum(axis=1)).mean())
    own = norm.logpdf(z, mean[places], std[places]).sum(axis=1)
    np.testing.assert_allclose(split.mutual_information, (own - joint).mean())
    # Every example twice, and half of them a third time.
    assert sorted(set(np.bincount(places).tolist())) == [2, 3]


def test_latents_on_several_axes_are_one_row_of_them():
    rng = np.random.default_rng(4)
    mean, z = (jnp.asarray(rng.normal(size=(5, 2, 3))) for _ in range(2))
    posterior = jax.vmap(lambda m: dist.Normal(m, 0.5).to_event(2))(mean)
    found = pairwise_marginal_log_prob(posterior, z)
    rows = lambda a: np.asarray(a).reshape(5, 6)
    np.testing.assert_allclose(found, norm.logpdf(rows(z)[:, None], rows(mean)[None], 0.5))


class Flow(eqx.Module):
    """A posterior whose density is known for all latents together alone."""

    shift: jax.Array

    def log_prob(self, z):
        return jnp.sum(norm_log_prob(z - self.shift))

    def sample(self, key, shape=()):
        return self.shift + jr.normal(key, (*shape, *self.shift.shape))


def norm_log_prob(z):
    return -(z**2) / 2 - math.log(2 * math.pi) / 2


def normal_with_covariance(mean):
    return dist.MultivariateNormal(mean, jnp.eye(3))


def mixture(mean):
    means = jnp.stack([mean, -mean])
    return dist.MixtureSameFamily(
        dist.Categorical(logits=jnp.zeros(2)), dist.Normal(means, 1.0).to_event(1)
    )


@pytest.mark.parametrize("family", [normal_with_covariance, mixture, Flow])
def test_a_posterior_that_does_not_factorise_is_refused(family):
    posterior = jax.vmap(family)(jnp.ones((4, 3)))
    message = "`posterior` is of .* not known to be independent given x"
    with pytest.raises(ValueError, match=message):
        total_correlation_split(
            posterior, jnp.ones((4, 3)), standard_normal(3), aggregate_log_weights(4, 9)
        )
    with pytest.raises(ValueError, match=message):
        exact_total_correlation_split(posterior, standard_normal(3), key=jr.key(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 5), "`batch` must be 2 or more, got 1"),
        ((8, 5), "no less than the batch of 8; got 5"),
        ((4, 5, "exact"), "needs the whole data set as its batch, got 4 of 5"),
    ],
)
def test_weights_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        aggregate_log_weights(*arguments)


def test_arguments_that_make_no_sense_are_refused():
    posterior = posterior_of(jnp.zeros((4, 3)), jnp.ones((4, 3)))
    with pytest.raises(ValueError, match="`batch_size` must be 1 or more, got 0"):
        aggregate_log_prob(posterior, jnp.zeros((4, 3)), jnp.zeros(()), batch_size=0)
    with pytest.raises(ValueError, match="`num_samples` must be 1 or more, got 0"):
        aggregate_samples(posterior, 0, key=jr.key(0))
    with pytest.raises(ValueError, match="must have one leading axis on all its leaves"):
        aggregate_samples(dist.Normal(jnp.zeros(3), jnp.ones(())), key=jr.key(0))
    by_hand = dist.Normal(jnp.zeros((4, 3)), jnp.ones((4, 3))).to_event(1)
    with pytest.raises(ValueError, match=r"make it under `jax\.vmap`"):
        aggregate_samples(by_hand, key=jr.key(0))


def terms_of(mean, std, z, distortion=None):
    prior = StandardNormal(z.shape[1])
    posterior = posterior_of(mean, std)
    rate = jax.vmap(lambda q, z: q.log_prob(z) - prior.log_prob(z))(posterior, z)
    distortion = jnp.arange(float(len(z))) if distortion is None else distortion
    return BatchTerms(distortion, rate, posterior, prior, z)


@pytest.mark.parametrize("weights", KINDS)
def test_with_equal_weights_the_objective_is_that_of_beta(weights):
    terms = terms_of(*batch_of())
    objective = TotalCorrelation(4.0, alpha=4.0, gamma=4.0, size=900, weights=weights)
    np.testing.assert_allclose(objective(terms)[0], Beta(4.0)(terms)[0])


def test_each_weight_is_of_its_part():
    mean, std, z = batch_of()
    weights = aggregate_log_weights(24, 900)
    split = split_of(mean, std, z, weights)
    loss, metrics = TotalCorrelation(5.0, alpha=0.0, gamma=0.5, size=900, batch_size=5)(
        terms_of(mean, std, z)
    )
    expected = 11.5 + 5 * split.total_correlation + 0.5 * split.dimension_wise_kl
    np.testing.assert_allclose(loss, expected)
    for name, part in split._asdict().items():
        np.testing.assert_allclose(metrics[name], part)
    np.testing.assert_allclose(metrics["rate"], split.rate)


def test_the_published_weights_show_values_without_their_constants():
    mean, std, z = batch_of()
    _, metrics = TotalCorrelation(2.0, size=900, weights="weighted")(terms_of(mean, std, z))
    published = split_of(mean, std, z, aggregate_log_weights(24, 900, "weighted")).total_correlation
    np.testing.assert_allclose(metrics["total_correlation"], published - 2 * math.log(900))


def test_an_objective_that_makes_no_sense_is_refused():
    terms = terms_of(*batch_of())
    with pytest.raises(ValueError, match="`beta` must be 0 or more, got -1"):
        TotalCorrelation(-1.0, size=900)
    with pytest.raises(ValueError, match="take the estimator `Reparameterised`"):
        TotalCorrelation(2.0, size=900)(terms._replace(z=None))
    with pytest.raises(ValueError, match="no less than the batch of 24; got 10"):
        TotalCorrelation(2.0, size=10)(terms)
    full = jax.vmap(FullCovarianceNormal(3))(jnp.zeros((24, 9)))
    with pytest.raises(ValueError, match="take a diagonal normal, not a full covariance"):
        TotalCorrelation(2.0, size=900)(terms._replace(posterior=full))
