"""What a user may type: the right value, or an error that names the argument and the remedy."""

import functools
import inspect
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optimistix as optx
import pytest

from lazily import Lazily
from pullback.calculus import ExactLogDet
from pullback.models.flows import (
    CNF,
    ActNorm,
    Chain,
    FactorOut,
    HybridFlow,
    HybridLoss,
    Logit,
    ResidualFlow,
    Squeeze,
    bits_per_dimension,
    cnf,
    dequantise,
    image_residual_flow,
    log_prob_estimate,
    maximum_likelihood_loss,
    residual_flow,
)
from pullback.sampling import StandardNormal


# As a user calls it, without the types that the tests check in front of the function's own checks.
def plain(function, *first):
    return functools.partial(inspect.unwrap(function), *first)


def log_prob(flow, x, **options):
    return plain(type(flow).log_prob)(flow, x, **options)


ANYTHING: Any = [jnp.tanh]
SOLVER = optx.FixedPointIteration(1e-6, 1e-6)


def pull(t, y, args):
    return -y


FLOWS = Lazily({
    "cnf": lambda: CNF(pull, StandardNormal(1), steps=2),
    "residual": lambda: residual_flow(1, blocks=1, width=4, key=jr.key(0)),
    "mapped": lambda: cnf(1, width=4, steps=2, key=jr.key(0)),
})  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", FLOWS)
def test_points_of_another_shape_are_no_points(kind, compiled):
    """A field that works on entries would take [n] for one point, and its base sum over them."""
    of = eqx.filter_jit if compiled else lambda f: f
    flow = FLOWS[kind]
    for shape in ((5,), (), (5, 2), (0,)):
        with pytest.raises(ValueError, match=r"points must have shape \[\.\.\., 1\]"):
            of(log_prob)(flow, jnp.ones(shape))
    with pytest.raises(ValueError, match=r"Take `x\[:, None\]`"):
        of(log_prob)(flow, jnp.ones(5))
    with pytest.raises(ValueError, match="points must be real numbers, got complex128"):
        of(log_prob)(flow, jnp.ones((5, 1), complex))
    with pytest.raises(ValueError, match="`batch` must hold at least one point"):
        of(lambda f, x: plain(maximum_likelihood_loss)(f, x, key=jr.key(0)))(flow, jnp.ones((0, 1)))


@pytest.mark.parametrize("kind", FLOWS)
def test_empty_batches_and_whole_numbers(kind):
    flow, none = FLOWS[kind], jnp.zeros((3, 0, 1))
    assert flow.log_prob(none).shape == (3, 0)
    assert flow.log_prob(none, batch_size=2).shape == (3, 0)
    assert flow.sample(jr.key(0), (0,)).shape == (0, 1)
    assert [a.shape for a in flow.transform_and_log_det(none)] == [(3, 0, 1), (3, 0)]
    np.testing.assert_array_equal(
        log_prob(flow, np.ones((2, 1), int)), log_prob(flow, np.ones((2, 1)))
    )
    draws, scores = eqx.filter_jit(lambda f: (f.sample(jr.key(0), (0,)), f.log_prob(none)))(flow)
    assert (draws.shape, scores.shape) == ((0, 1), (3, 0))
    with pytest.raises(TypeError, match=r"got 0: give jax\.random\.key\(0\)"):
        log_prob(flow, none, key=0)


def test_points_from_numpy_are_cast_without_a_word(x32):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for flow in (CNF(pull, StandardNormal(1), steps=2),
                     residual_flow(1, blocks=1, width=4, key=jr.key(0))):  # fmt: skip
            assert log_prob(flow, np.ones((2, 1))).dtype == jnp.float32


@pytest.mark.parametrize("compiled", [False, True])
def test_a_row_that_is_not_a_number_is_its_own_trouble(compiled):
    of = eqx.filter_jit if compiled else lambda f: f
    x = jnp.array([[0.3], [jnp.nan], [1.0]])
    found = of(log_prob)(FLOWS["residual"], x)
    assert np.isnan(found).tolist() == [False, True, False]
    # Each row has its own steps, so that a compiled solve tells the row too.
    wanted = (Exception, "index 1") if compiled else (ValueError, "`points` must be finite; row 1")
    with pytest.raises(wanted[0], match=wanted[1]):
        of(log_prob)(CNF(pull, StandardNormal(1)), x)
    if not compiled:
        for flow in (FLOWS["cnf"], FLOWS["mapped"]):  # with steps that all have in common
            with pytest.raises(ValueError, match="`points` must be finite; row 1"):
                log_prob(flow, x)
        with pytest.raises(ValueError, match="`points` must be finite; row 1"):
            FLOWS["residual"].transform_and_log_det(x)


def test_a_base_is_one_distribution_of_points():
    """A batch of them has as many densities, which would be added to those of as many points."""
    of_parts = dist.Normal(jnp.zeros(2), jnp.ones(2))
    flow = residual_flow(2, blocks=1, width=4, key=jr.key(0))
    for make in (
        lambda base: CNF(pull, base, steps=1),
        lambda base: ResidualFlow(flow.bijection, base),
    ):
        with pytest.raises(ValueError, match=r"it is \[2\] of them.*`base.to_event\(1\)`"):
            make(of_parts)
        assert make(of_parts.to_event(1)).log_prob(jnp.ones((2, 2))).shape == (2,)
    with pytest.raises(ValueError, match=r"must draw vectors \[dim\], and it draws \[2, 2\]"):
        CNF(pull, StandardNormal((2, 2)))
    with pytest.raises(ValueError, match=r"must have shape \[\.\.\., 3\], got \(4, 2\)"):
        log_prob(CNF(pull, StandardNormal(3)), jnp.ones((4, 2)))


@pytest.mark.parametrize("margin", [0.0, 0.05])
@pytest.mark.parametrize("compiled", [False, True])
def test_there_is_no_density_beyond_the_ends_of_a_logit(margin, compiled):
    of = eqx.filter_jit if compiled else lambda f: f
    flow = ResidualFlow(Logit(margin), StandardNormal(2))
    x = jnp.array([[0.5, 1.2], [-0.3, 0.5], [0.5, 0.5], [0.5, jnp.nan]])
    found = of(log_prob)(flow, x)
    assert found[0] == found[1] == -np.inf
    want = -np.log(2 * np.pi) + 2 * np.log(4 * (1 - 2 * margin))
    np.testing.assert_allclose(found[2], want, rtol=1e-12)
    assert np.isnan(found[3])
    if margin == 0:
        assert np.all(flow.log_prob(jnp.array([[0.0, 0.5], [0.5, 1.0]])) == -np.inf)
    slope = jax.grad(lambda x: flow.log_prob(x))(x[0])
    assert np.all(np.isfinite(slope))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ActNorm(2).initialise(jnp.zeros((0, 2))), "at least one example to be set by"),
        (lambda: Squeeze().inverse(jnp.ones((3, 2, 2)), SOLVER, 1), "4 channels, or a multiple"),
        (lambda: Squeeze().inverse(jnp.ones(4), SOLVER, 1), "4 channels, or a multiple"),
        (lambda: FactorOut(Squeeze(), (4, 4, 4)).forward_and_log_det(jnp.ones((6, 4, 4))),
         r"must have the shape \(4, 4, 4\), got \(6, 4, 4\)"),
        (lambda: FactorOut(Squeeze(), (3, 2, 2)), r"\(channel, height, width\)"),
        (lambda: plain(image_residual_flow)((4, 4), log_det=ExactLogDet(), key=jr.key(0)),
         r"\(channel, height, width\), got \(4, 4\)"),
        (lambda: image_residual_flow((1, 4, 4), dense_blocks=-1, log_det=ExactLogDet(),
                                     key=jr.key(0)), "`dense_blocks` must be 0 or more"),
        (lambda: plain(dequantise)(jnp.array([0.0, 255.0]), key=jr.key(0)), "pixels in .*0 to 255"),
        (lambda: plain(dequantise)(jnp.array([0, 1]), key=jr.key(0)), "must be floating, got int"),
        (lambda: dequantise(jnp.array([0.0, 1.0]), levels=1, key=jr.key(0)), "`levels` must be 2"),
        (lambda: bits_per_dimension(jnp.zeros(()), 0), "`size` 1 or more"),
        (lambda: cnf(0, key=jr.key(0)), "`dim` must be 1 or more"),
        (lambda: residual_flow(2, context=0, key=jr.key(0)), "`context_shape` must be of sizes"),
    ],
)  # fmt: skip
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Chain(ANYTHING), "parts"),
        (lambda: ResidualFlow(ANYTHING[0], StandardNormal(2)), "bijection"),
        (lambda: plain(residual_flow)(2, key=0), r"got 0: give jax\.random\.key\(0\)"),
        (lambda: plain(cnf)(2, key=0), r"got 0: give jax\.random\.key\(0\)"),
        (lambda: plain(dequantise)(jnp.ones(2), key=0), r"got 0: give jax\.random\.key\(0\)"),
        (
            lambda: plain(log_prob_estimate)(FLOWS["residual"], jnp.ones((2, 1)), key=0),
            "got 0: give",
        ),
    ],
)
def test_wrong_kinds_are_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("compiled", [False, True])
def test_times_that_become_one_are_no_times(compiled, x32):
    """Seconds since 1970 in float32: the flow would be the identity."""
    of = eqx.filter_jit if compiled else lambda f: f
    x = jnp.ones((2, 1))
    late = CNF(pull, StandardNormal(1), t0=1.7e9, t1=1.7e9 + 1)
    with pytest.raises(ValueError, match="times of a CNF: times cast to float32 lose what lies"):
        of(lambda f, x: f.log_prob(x))(late, x)
    with pytest.raises(ValueError, match="times of a CNF"):
        plain(type(late).trajectory)(FLOWS["cnf"], x, np.array([1.7e9 + 1, 1.7e9]))
    dates = np.array(["2024-01-01", "2024-01-02"], "M8[D]")
    with pytest.raises(TypeError, match="times of a CNF must be numbers, got datetime64: give the"):
        plain(type(late).trajectory)(FLOWS["cnf"], x, dates)
    back = plain(type(late).trajectory)(FLOWS["cnf"], x, np.array([1.0, 0.0]))
    np.testing.assert_allclose(back[:, -1], np.e, rtol=1e-2)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_field_returns_one_velocity(compiled):
    of = eqx.filter_jit if compiled else lambda f: f
    base = StandardNormal(2)
    for field in (lambda t, y, a: [y[0], y[1]], lambda t, y, a: y[:1], lambda t, y, a: 0.0):
        flow = CNF(field, base, steps=1)
        with pytest.raises(ValueError, match=r"`field` must return the velocity.*shape \[2\]"):
            of(lambda f: f.log_prob(jnp.ones((3, 2))))(flow)
        with pytest.raises(ValueError, match=r"`field` must return the velocity.*shape \[2\]"):
            of(lambda f: f.sample(jr.key(0), (3,)))(flow)


def test_a_hybrid_takes_batches():
    head = eqx.nn.Linear(1, 3, key=jr.key(0))
    flow: Any = FLOWS["residual"]
    model = HybridFlow(flow, head)
    assert model.logits(jnp.ones((0, 1))).shape == (0, 3)
    for shape in ((1,), (2, 2, 1)):
        with pytest.raises(ValueError, match="`x` must be a batch"):
            plain(HybridFlow.logits)(model, jnp.ones(shape))
    with pytest.raises(ValueError, match="`batch` must hold at least one point"):
        HybridLoss()(model, (jnp.ones((0, 1)), jnp.ones(0, int)), key=jr.key(0))
    with pytest.raises(ValueError, match="`weight` must be 0 or more"):
        HybridLoss(-1.0)
