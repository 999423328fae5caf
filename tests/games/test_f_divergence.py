"""Divergences by the log ratio, against densities whose ratio is known."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from pullback.games import (
    FDivergence,
    alpha,
    discriminator_loss,
    effective_divergence,
    generator_loss,
    jensen_shannon,
    kl,
    minimax,
    neyman,
    non_saturating,
    pearson,
    ratio_diagnostics,
    reverse_kl,
    squared_hellinger,
)

MEMBERS = {
    "kl": (kl, lambda u: u * np.log(u)),
    "reverse_kl": (reverse_kl, lambda u: -np.log(u)),
    "jensen_shannon": (
        jensen_shannon,
        lambda u: u * np.log(u) - (1 + u) * np.log(1 + u) + (1 + u) * np.log(2),
    ),
    "pearson": (pearson, lambda u: (u - 1) ** 2),
    "neyman": (neyman, lambda u: (u - 1) ** 2 / u),
    "squared_hellinger": (squared_hellinger, lambda u: (np.sqrt(u) - 1) ** 2),
    "minimax": (minimax, lambda u: -np.log((1 + u) / 2)),
    "non_saturating": (non_saturating, lambda u: np.log((1 + 1 / u) / 2)),
    "alpha 0.3": (alpha(0.3), lambda u: (u**0.3 - 1 - 0.3 * (u - 1)) / (0.3 * -0.7)),
    "alpha 0": (alpha(0), lambda u: -np.log(u) + u - 1),
    "alpha 1": (alpha(1), lambda u: u * np.log(u) - u + 1),
}
RATIOS = np.geomspace(0.01, 50, 60)
V = jnp.asarray(np.log(RATIOS))
unchecked = inspect.unwrap  # without the checks of types that the tests put around it
all_members = pytest.mark.parametrize("name", MEMBERS)

# p = N(0, 1), q = N(0.7, 0.8^2), as x = 0.7 + 0.8 z.
MEAN, DEVIATION = 0.7, 0.8
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(200)
WEIGHTS = jnp.asarray(WEIGHTS / WEIGHTS.sum())


def log_ratio(x, at=(MEAN, DEVIATION)):
    mean, deviation = at
    return -(x**2) / 2 + ((x - mean) / deviation) ** 2 / 2 + jnp.log(deviation)


def frozen(loss):
    """The gradient by mean and deviation where the ratio is that of a discriminator."""
    here = jnp.asarray([MEAN, DEVIATION])
    mean_of = lambda at: jnp.sum(WEIGHTS * loss(log_ratio(at[0] + at[1] * jnp.asarray(NODES))))
    return jax.grad(mean_of)(here)


def true(divergence):
    """The gradient of the divergence itself, through the ratio too."""

    def value(at):
        return jnp.sum(WEIGHTS * divergence(log_ratio(at[0] + at[1] * jnp.asarray(NODES), at)))

    return jax.grad(value)(jnp.asarray([MEAN, DEVIATION]))


@all_members
def test_f_is_the_formula_convex_and_nothing_where_densities_agree(name):
    member, f = MEMBERS[name]
    np.testing.assert_allclose(member(V), f(RATIOS), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(member(jnp.asarray(0.0)), 0, atol=1e-15)
    values = np.asarray(member(jnp.log(jnp.linspace(0.05, 20, 400))))
    assert (np.diff(values, 2) > -1e-12).all()


@all_members
def test_closed_forms_are_those_of_differentiation_and_the_conjugate(name):
    member, f = MEMBERS[name]
    plain = FDivergence(member.f)
    # A constant is all that may be between them, and here it is none.
    np.testing.assert_allclose(member.exact(V), plain.exact(V), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(member.slope(V), plain.slope(V), rtol=1e-9, atol=1e-11)
    for u in (0.3, 1.0, 2.5):
        t = float(member.slope(jnp.log(u)))
        found = minimize_scalar(lambda s, t=t: f(s) - t * s, bounds=(1e-6, 60), method="bounded",
                                options={"xatol": 1e-10})  # fmt: skip
        np.testing.assert_allclose(member.exact(jnp.log(u)), found.fun, atol=1e-8)


@all_members
def test_the_exact_loss_has_the_gradient_of_the_divergence(name):
    member, _ = MEMBERS[name]
    for run in (lambda f: f, jax.jit):
        np.testing.assert_allclose(run(lambda: frozen(member.exact))(), true(member), rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "gradient"),
    [
        (reverse_kl.exact, (0.7, -0.45)),
        (kl.exact, (1.09375, -1.66016)),
        (kl, (-2.1912, 4.8213)),  # the plug-in: of the opposite sign
        (minimax, (0.35708, -0.31462)),
        (jensen_shannon.exact, (0.35708, -0.31462)),
        (non_saturating, (0.34292, -0.13538)),
        (non_saturating.exact, (0.50150, -0.22696)),
        (pearson.exact, (34.8006, -161.574)),
        (pearson, (-32.61, 158.25)),
        (squared_hellinger.exact, (0.39125, -0.38511)),
        (squared_hellinger, (-0.31125, 0.88993)),
    ],
)
def test_gradients_with_a_frozen_ratio(loss, gradient):
    np.testing.assert_allclose(frozen(loss), gradient, rtol=1e-4)


@pytest.mark.parametrize("near", [0, 1])
@pytest.mark.parametrize("off", [0.1, 1e-4, 1e-6, -1e-8, 1e-20, 1e-50])
def test_alpha_near_its_ends_in_float32(near, off, x32):
    """Against 200 terms of the power series in log r, each of which is a power of a in whole
    numbers: f = sum v^n / n! (1 + a + ... + a^(n - 2))."""
    a, v = near + off, np.asarray([-5.0, -1.0, -0.1, 0.3, 0.7, 4.0])
    want, slope, term = np.zeros(6), np.zeros(6), np.ones(6)
    for n in range(1, 200):
        term = term * v / n
        want += term * sum(a**k for k in range(n - 1))
        slope += term * (a - 1) ** (n - 1)
    found = alpha(a)
    at = jnp.asarray(v, jnp.float32)
    np.testing.assert_allclose(found(at), want, rtol=4e-5)
    np.testing.assert_allclose(found.slope(at), slope, rtol=4e-6)
    np.testing.assert_allclose(found.exact(at), want - np.exp(v) * slope, rtol=4e-5, atol=4e-6)


# f(0), or its limit; where the ratio overflows all but two are infinite.
AT_ZERO = {
    "kl": 0, "reverse_kl": np.inf, "jensen_shannon": np.log(2), "pearson": 1, "neyman": np.inf,
    "squared_hellinger": 1, "minimax": np.log(2), "non_saturating": np.inf, "alpha 0.3": 1 / 0.3,
    "alpha 0": np.inf, "alpha 1": 1, "alpha 0.95": 1 / 0.95, "alpha 2": 0.5,
}  # fmt: skip
FAR = {"reverse_kl": -np.inf, "minimax": -np.inf, "non_saturating": np.log(0.5)}


@pytest.mark.parametrize("name", AT_ZERO)
@pytest.mark.parametrize("compile", [lambda f: f, jax.jit])
def test_ratios_of_zero_and_infinity_have_the_limits(name, compile, x32):
    member = MEMBERS[name][0] if name in MEMBERS else alpha(float(name.split()[1]))
    v = jnp.asarray([-jnp.inf, -2000, -100, 80, 100, 300, jnp.inf], jnp.float32)
    found = compile(member)(v)
    assert found.dtype == jnp.float32
    assert not np.isnan(found).any()
    np.testing.assert_allclose(found[0], AT_ZERO[name], rtol=1e-6)
    np.testing.assert_allclose(found[-1], FAR.get(name, np.inf), rtol=1e-6)
    slopes = compile(jax.vmap(jax.grad(member)))(v)
    assert not np.isnan(slopes[:-1]).any()
    # What grows with the ratio has there a slope of its size.
    if name not in FAR:
        assert slopes[3] > 1e10
        assert slopes[5] > 1e30
    for loss in (member.exact, member.slope):
        assert not np.isnan(compile(loss)(v)).any()
        assert not np.isnan(compile(jax.vmap(jax.grad(loss)))(v[1:-1])).any()


def test_what_losses_in_practice_descend():
    """log(1 - D): twice Jensen-Shannon's; -log D: KL(q, p) less that."""
    for loss, value in (
        (minimax, lambda v: jensen_shannon(v)),
        (non_saturating, lambda v: reverse_kl(v) - jensen_shannon(v)),
        (reverse_kl, reverse_kl),
    ):
        found = effective_divergence(loss)
        np.testing.assert_allclose(true(found), true(value), rtol=1e-5)
        np.testing.assert_allclose(found(jnp.asarray(0.0)), 0, atol=1e-15)
        np.testing.assert_allclose(found.exact(V), FDivergence(found.f).exact(V), atol=1e-9)
        np.testing.assert_allclose(found.slope(V), FDivergence(found.f).slope(V), rtol=1e-7,
                                   atol=1e-9)  # fmt: skip
    at = jnp.asarray([30.0, -30.0])
    assert jnp.all(jnp.isfinite(effective_divergence(minimax, low=-40, high=40)(at)))


@pytest.mark.parametrize("name", [n for n in MEMBERS if n not in ("reverse_kl", "minimax",
                                                                  "non_saturating")])  # fmt: skip
def test_a_plug_in_loss_that_pushes_the_wrong_way_is_flagged(name):
    member, _ = MEMBERS[name]
    with pytest.raises(
        ValueError, match=r"rises with the ratio .* not convex .* `divergence.exact`"
    ):
        effective_divergence(member)
    for run in (lambda f: f, jax.jit):
        with pytest.warns(UserWarning, match='pushes samples away.*take estimator="exact"'):
            run(lambda v: generator_loss(v, member, estimator="plug_in"))(V)


def test_where_a_plug_in_loss_turns():
    """KL's r log r rises from 1 / e on."""
    with pytest.raises(ValueError, match=r"from 0\.3[6-9]"):
        effective_divergence(kl)
    effective_divergence(kl, low=-10, high=-1.1)
    with pytest.raises(ValueError, match="`low` and `high` must be finite and rise, got 2 and 1"):
        effective_divergence(minimax, low=2, high=1)


def test_the_generator_loss_is_a_mean_and_weighs_what_it_should():
    v = jnp.asarray([-3.0, 0.5, 2.0, 30.0])
    for divergence in (kl, reverse_kl, alpha(0.5)):
        value = generator_loss(v, divergence)
        np.testing.assert_allclose(value, np.mean(divergence.exact(v)), rtol=1e-12)
    np.testing.assert_allclose(
        generator_loss(v, minimax, estimator="plug_in"), np.mean(minimax.f(v))
    )
    weights = -jax.grad(lambda v: generator_loss(v, kl, self_normalise=True))(v)
    np.testing.assert_allclose(weights, jax.nn.softmax(v), rtol=1e-12)
    clipped = -jax.grad(lambda v: generator_loss(v, kl, clip=10))(v)
    np.testing.assert_allclose(clipped, np.exp(np.minimum(v, 10)) / 4, rtol=1e-12)
    # Of a loss that is a line nothing is clipped.
    np.testing.assert_allclose(generator_loss(v, reverse_kl, clip=1), np.mean(1 - np.asarray(v)))
    inside = lambda v: generator_loss(v, pearson, clip=31)
    np.testing.assert_allclose(
        jax.hessian(inside)(v), jax.hessian(lambda v: generator_loss(v, pearson))(v)
    )


def test_float32_stays_and_large_logits_stay_finite(x32):
    v = jnp.asarray([-80.0, 0.0, 80.0])
    for name, (member, _) in MEMBERS.items():
        for part in (member(v), member.exact(v), generator_loss(v, member, clip=10)):
            assert part.dtype == jnp.float32
            assert not jnp.any(jnp.isnan(part)), name
    found = ratio_diagnostics(v, v)
    assert {leaf.dtype for leaf in found} == {jnp.dtype("float32")}


@pytest.mark.parametrize("divergence", [None, jensen_shannon, kl, pearson, alpha(0.5)])
def test_logits_of_any_bound_become_the_log_ratio(divergence):
    """Of three points, with probabilities p and q; the bound is the divergence there."""
    p, q = np.asarray([0.2, 0.3, 0.5]), np.asarray([0.5, 0.25, 0.25])
    real, fake = (np.repeat(np.arange(3), (100 * each).round().astype(int)) for each in (p, q))
    loss = lambda v: discriminator_loss(v[real], v[fake], divergence)
    best = jnp.log(jnp.asarray(p / q))
    np.testing.assert_allclose(jax.grad(loss)(best), 0, atol=1e-12)
    assert loss(best) < min(loss(best + 0.1 * bump) for bump in jnp.eye(3))
    of = jensen_shannon if divergence is None else divergence
    less = np.log(4) if divergence is None else 0
    np.testing.assert_allclose(loss(best), less - np.sum(q * of(best)), rtol=1e-12)


def test_logistic_regression_finds_the_ratio(key):
    """On 1, x, x^2, of 200,000 draws of each, by Newton's method."""
    real, z = jax.random.normal(key, (2, 200_000))
    fake = MEAN + DEVIATION * z
    rows = lambda x: jnp.stack([jnp.ones_like(x), x, x**2])
    loss = lambda w: discriminator_loss(w @ rows(real), w @ rows(fake))
    step = jax.jit(lambda w: w - jnp.linalg.solve(jax.hessian(loss)(w), jax.grad(loss)(w)))
    w = jnp.zeros(3)
    for _ in range(8):
        w = step(w)
    want = [np.log(0.8) + 0.7**2 / (2 * 0.64), -0.7 / 0.64, 1 / (2 * 0.64) - 0.5]
    np.testing.assert_allclose(w, want, rtol=0.03)
    found = ratio_diagnostics(w @ rows(real), w @ rows(fake))
    np.testing.assert_allclose([found.mean_ratio, found.mean_inverse_ratio], 1, atol=0.02)


def test_diagnostics_are_those_of_their_formulas():
    real, fake = np.asarray([0.5, -1.0, 0.0]), np.asarray([-2.0, 3.0])
    for run in (ratio_diagnostics, eqx.filter_jit(ratio_diagnostics)):
        found = run(jnp.asarray(real), jnp.asarray(fake))
        np.testing.assert_allclose(found.mean_ratio, np.exp(fake).mean())
        np.testing.assert_allclose(found.mean_inverse_ratio, np.exp(-real).mean())
        share = np.exp(fake).sum() ** 2 / np.exp(2 * fake).sum() / 2
        np.testing.assert_allclose(found.effective_share, share)
        np.testing.assert_allclose(found.accuracy, (1.5 / 3 + 1 / 2) / 2)


def test_diagnostics_of_logits_that_are_no_numbers():
    v, nothing = jnp.asarray([0.5, -1.0]), jnp.zeros(0)
    for given, name in (((nothing, v), "real"), ((v, nothing), "fake")):
        with pytest.raises(ValueError, match=f"`{name}` must have at least one logit"):
            ratio_diagnostics(*given)
    holes = v.at[1].set(jnp.nan)
    assert np.isnan(ratio_diagnostics(holes, holes)).all()
    # Samples where there are no data: told apart, and none of them weighs anything.
    found = ratio_diagnostics(jnp.ones(2), jnp.full(2, -jnp.inf))
    np.testing.assert_allclose(found, [0, np.exp(-1), 0, 1])


def test_a_loss_that_is_no_number_somewhere_descends_nothing():
    for loss, where in ((lambda v: -jnp.log(v), "-10"), (lambda v: -jnp.log(5 - v), "5")):
        with pytest.raises(ValueError, match=f"must be finite .* from -10 to 10, .* at {where}"):
            effective_divergence(loss)
    effective_divergence(lambda v: -jnp.log(v), low=0.5)


def test_a_divergence_through_the_ratio_needs_no_exact_loss():
    """A function that closes over what is differentiated is let through: it has no numbers."""
    grad = jax.grad(
        lambda w: generator_loss(V, FDivergence(lambda v: -w * v), estimator="plug_in")
    )(2.0)
    np.testing.assert_allclose(grad, -np.mean(V))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: unchecked(generator_loss)(jnp.arange(3), kl),
            "`log_ratio` must be floating, got int",
        ),
        (
            lambda: unchecked(generator_loss)(jnp.zeros(0), kl),
            "`log_ratio` must have the logit of at least",
        ),
        (
            lambda: unchecked(generator_loss)(V, kl, clip=0),
            "`clip` must be None or a number above 0, got 0",
        ),
        (
            lambda: unchecked(generator_loss)(V, kl, estimator="plugin"),
            '"exact" or "plug_in", got \'plugin\'',
        ),
        (
            lambda: unchecked(discriminator_loss)(V, jnp.zeros(0)),
            "`fake` must have at least one logit",
        ),
        (lambda: unchecked(discriminator_loss)(jnp.arange(2), V), "`real` must be floating"),
        (lambda: unchecked(generator_loss)(V, kl, clip="10"), "number above 0, got '10'"),
        (lambda: alpha(float("nan")), "`a` must be a finite number, got nan"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_name_is_no_divergence():
    with pytest.raises(TypeError, match=r"`divergence` must be an `FDivergence`.*got 'kl'"):
        unchecked(generator_loss)(V, "kl")
    with pytest.raises(TypeError, match=r"`divergence` must be an `FDivergence`.*got 'kl'"):
        unchecked(discriminator_loss)(V, V, "kl")
