"""The entropy's gradient, held against probabilistic PCA, whose density is known."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.models.energy import (
    DiagonalProposal,
    GaussNewtonProposal,
    LatentGenerator,
    entropy_score,
    entropy_surrogate,
    proposal_objective,
)

SIGMA, DRAWS = 0.3, 4000
W = jr.normal(jr.key(0), (5, 3))
B = jnp.arange(5.0)
COVARIANCE = W @ W.T + SIGMA**2 * jnp.eye(5)
POSTERIOR = jnp.linalg.inv(jnp.eye(3) + W.T @ W / SIGMA**2)
WIDTHS = jnp.sqrt(jnp.diag(POSTERIOR))


def generator(scale=1.0):
    return LatentGenerator(lambda z: scale * (W @ z) + B, 3, sigma=SIGMA)


def entropy(scale):
    return 0.5 * jnp.linalg.slogdet(scale**2 * W @ W.T + SIGMA**2 * jnp.eye(5))[1]


EXACT = jax.grad(entropy)(1.0)


def gradients(proposal, *, samples, inflate=1.0, exact=False):
    """dH/d(scale) of each draw, the estimated scores and the true ones."""

    def one(key):
        draw, search = jr.split(key)
        x, z = generator().sample(key=draw)
        true = -jnp.linalg.solve(COVARIANCE, x - B)
        score, ess = entropy_score(
            generator(), proposal, x, z, samples=samples, inflate=inflate, key=search
        )
        used = true if exact else score
        slope = jax.grad(
            lambda a: entropy_surrogate(used[None], generator(a).sample(key=draw)[0][None])
        )(1.0)
        return slope, score, true, ess

    keys = jr.split(jr.key(7), DRAWS)
    return jax.tree.map(np.asarray, jax.jit(lambda k: jax.lax.map(one, k, batch_size=500))(keys))


def standard_error(values):
    return values.std(ddof=1) / np.sqrt(len(values))


def test_with_the_exact_score_the_surrogate_gives_the_entropys_gradient():
    slope, *_ = gradients(GaussNewtonProposal(), samples=1, exact=True)
    assert abs(slope.mean() - EXACT) < 4 * standard_error(slope)
    assert EXACT > 4 * standard_error(slope)  # a wrong sign would be seen


def test_the_tangents_posterior_is_exact_for_a_linear_generator():
    """All weights are alike, so that there is no bias with any number of samples."""
    slope, score, true, ess = gradients(GaussNewtonProposal(keep=False), samples=2)
    np.testing.assert_allclose(ess, 2, rtol=1e-6)
    assert abs(slope.mean() - EXACT) < 4 * standard_error(slope)
    error = score - true
    assert np.all(abs(error.mean(axis=0)) < 4 * standard_error(error))


def test_keeping_the_own_latent_shrinks_the_gradient_by_its_share():
    """One of 1 + M latents is z0, of which alone the gradient to the scale has mean zero."""
    samples = 3
    slope, _, _, ess = gradients(GaussNewtonProposal(), samples=samples)
    np.testing.assert_allclose(ess, samples + 1, rtol=1e-6)
    expected = EXACT * samples / (samples + 1)
    assert abs(slope.mean() - expected) < 4 * standard_error(slope)


def test_around_the_own_latent_the_score_is_right_and_the_entropys_gradient_low_at_few_samples():
    proposal = DiagonalProposal(jnp.log(WIDTHS))
    few, score, true, _ = gradients(proposal, samples=20)
    along = np.sum(score * true) / np.sum(true * true)
    rest = np.sum((score - along * true) * true, axis=1)
    error = np.sqrt(np.sum(rest**2)) / np.sum(true * true)
    assert abs(along - 1) < 4 * error < 0.03
    # Of proposals as wide as the posterior: with all weights alike it would be 0.3.
    assert 0.5 < np.sqrt(np.mean((score - true) ** 2) / np.mean(true**2)) < 0.8
    assert few.mean() < EXACT - 4 * standard_error(few)  # what the shared latent costs
    many, *_ = gradients(proposal, samples=150, inflate=2.0)
    assert abs(many.mean() - EXACT) < 4 * standard_error(many)
    wide, *_ = gradients(proposal, samples=20, inflate=2.0)
    assert abs(wide.mean() - EXACT) < 0.3 * EXACT


def test_the_widths_of_least_loss_are_those_of_the_reverse_divergence():
    """Of KL(xi || posterior) the best factorised normal has the precision's diagonal."""
    best = 1 / np.sqrt(np.diag(np.linalg.inv(POSTERIOR)))
    x, z = generator().sample(key=jr.key(3))

    def loss(log_eta):
        return proposal_objective(
            DiagonalProposal(log_eta), generator(), x, z, samples=20_000, key=jr.key(4)
        )

    slope = jax.jit(jax.grad(loss))
    assert np.all(abs(slope(jnp.log(best))) < 0.05)  # 4 standard errors: 4 sqrt(2 / 20,000)
    assert np.all(slope(jnp.log(best * 1.2)) > 0.2)


def test_a_bad_tangent_falls_back_on_the_own_latent():
    """A kink between z0 and where the tangent leads: the score stays that of z0."""
    bent = LatentGenerator(lambda z: jnp.where(z > 0, 100.0, 1.0) * z, 1, sigma=0.01)
    x, z0 = jnp.array([-0.5]) + 0.02, jnp.array([-0.5])
    tangent = GaussNewtonProposal()
    score, ess = entropy_score(bent, tangent, x, z0, samples=5, key=jr.key(0))
    assert jnp.abs(score[0]) < 1e3
    across = LatentGenerator(lambda z: jnp.sin(8 * z), 1, sigma=0.01)
    top = jnp.array([jnp.pi / 16 - 0.01])  # nearly flat: the tangent is far off
    x = jnp.sin(8 * top) + 0.03
    astray, _ = entropy_score(
        across, GaussNewtonProposal(keep=False), x, top, samples=5, key=jr.key(0)
    )
    kept, ess = entropy_score(across, tangent, x, top, samples=5, key=jr.key(0))
    own = -(x - jnp.sin(8 * top)) / 0.01**2
    assert jnp.abs(kept - own)[0] < jnp.abs(astray - own)[0]
    assert ess < 3


def test_the_joint_is_that_of_latent_and_noise():
    x, z = generator().sample(key=jr.key(3))
    residual = x - (W @ z + B)
    pieces = [*z, *(residual / SIGMA)]
    expected = sum(-0.5 * v**2 - 0.5 * np.log(2 * np.pi) for v in pieces) - 5 * np.log(SIGMA)
    np.testing.assert_allclose(generator().log_joint(x, z), expected, rtol=1e-10)
    both = np.asarray(jax.vmap(lambda k: generator().sample(key=k)[0])(jr.split(jr.key(5), DRAWS)))
    centred = both - np.asarray(B)
    products = centred[:, :, None] * centred[:, None, :]
    band = 4 * products.std(axis=0, ddof=1) / np.sqrt(DRAWS)
    assert np.all(abs(products.mean(axis=0) - COVARIANCE) < band)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LatentGenerator(lambda z: z, 0), "`latent` must be at least 1, got 0"),
        (lambda: LatentGenerator(lambda z: z, 1, sigma=0), "`sigma` must be above 0, got 0"),
        (lambda: wrong(samples=0), "`samples` must be at least 1, got 0"),
        (lambda: wrong(inflate=0), "`inflate` must be above 0, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def wrong(**flags):
    x, z = generator().sample(key=jr.key(3))
    return entropy_score(generator(), GaussNewtonProposal(), x, z, **flags, key=jr.key(0))
