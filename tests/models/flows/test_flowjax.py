"""FlowJAX's bijections behind our interface, ours behind FlowJAX's, and inverses as bijections."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import optimistix as optx
import paramax
import pytest
from flowjax import bijections as fj
from flowjax.distributions import StandardNormal as TheirNormal
from flowjax.distributions import Transformed
from scipy.special import logit
from scipy.stats import multivariate_normal, norm

from pullback.calculus import RouletteLogDet
from pullback.models.flows import (
    CNF,
    ActNorm,
    Chain,
    Flatten,
    FlowFamily,
    FromFlowJAX,
    Given,
    Inverse,
    InverseError,
    Logit,
    MappedFlow,
    ResidualBlock,
    ResidualFlow,
    Reverse,
    Stacked,
    maximum_likelihood_loss,
    spline_coupling_flow,
    to_flowjax,
)
from pullback.models.flows._bijection import require_solver
from pullback.models.flows._rows import sizes_of
from pullback.nn import ConcatSquashMLP, Constant, LipschitzMLP
from pullback.sampling import StandardNormal
from pullback.train import CheckpointError, fit, load_model


def spline():
    return fj.RationalQuadraticSpline(knots=4, interval=3.0)


@pytest.fixture(autouse=True)
def as_out_of_the_box():
    """FlowJAX's constructors and its own calls mix dtypes: only what we call is held strictly."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def strictly(function):
    def call(*args, **settings):
        with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
            return function(*args, **settings)

    return call


def moved(tree):
    """With weights that are not those of the start."""
    count = iter(range(100))
    move = lambda leaf: leaf + 0.3 * jr.normal(jr.key(next(count)), leaf.shape, leaf.dtype)
    return jax.tree.map(lambda leaf: move(leaf) if eqx.is_inexact_array(leaf) else leaf, tree)


def coupling(cond_dim=None):
    return fj.Coupling(
        jr.key(0), transformer=spline(), untransformed_dim=1, dim=3, cond_dim=cond_dim,
        nn_width=4, nn_depth=1,
    )  # fmt: skip


def autoregressive(cond_dim=None):
    return fj.MaskedAutoregressive(
        jr.key(1), transformer=fj.Affine(), dim=3, cond_dim=cond_dim, nn_width=4, nn_depth=1
    )


def triangular():
    return moved(fj.TriangularAffine(jnp.arange(3.0), jnp.eye(3)))


CASES = {
    "spline": lambda: fj.Vmap(moved(spline()), axis_size=3),
    "coupling": lambda: moved(coupling()),
    "conditional coupling": lambda: moved(coupling(2)),
    "autoregressive": lambda: moved(autoregressive()),
    "conditional autoregressive": lambda: moved(autoregressive(2)),
    "permutation": lambda: fj.Permute(np.array([2, 0, 1])),
    "mixing by LU": triangular,
    "planar": lambda: moved(fj.Planar(jr.key(2), dim=3, negative_slope=0.3)),
    "inverted": lambda: fj.Invert(triangular()),
    "scan": lambda: fj.Scan(eqx.filter_vmap(lambda b: fj.Affine(b, 2.0))(jnp.ones((2, 3)))),
    "one number": lambda: moved(spline()),
    "fixed": lambda: paramax.non_trainable(fj.Affine(jnp.arange(3.0), 2.0)),
    "an image": lambda: fj.Reshape(fj.Affine(jnp.arange(4.0), 2.0), (2, 1, 2)),
}
MADE = {name: functools.cache(make) for name, make in CASES.items()}


def point(theirs, dtype=jnp.float64):
    x = 1.3 * jr.normal(jr.key(5), (6, *theirs.shape), dtype)
    context = None if theirs.cond_shape is None else jr.normal(jr.key(6), theirs.cond_shape, dtype)
    return x, context


def both_ways(ours, x, context, key=None):
    """Of one point: image, log-determinant, dense Jacobian, and back."""
    forward = lambda x: ours.forward_and_log_det(x, context=context)
    y, log_det = forward(x)
    back, info = ours.inverse(y, optx.Newton(1e-12, 1e-12), 100, context=context)
    jacobian = jax.jacfwd(lambda x: forward(x)[0])(x).reshape(x.size, x.size)
    return y, log_det, jacobian, back, info.converged


PROGRAM = eqx.filter_jit(strictly(both_ways))
BATCH = eqx.filter_jit(
    strictly(lambda ours, x, context: jax.vmap(lambda x: both_ways(ours, x, context)[:2])(x))
)


@pytest.mark.parametrize("name", CASES)
def test_inverse_and_log_determinant_of_one_of_theirs(name):
    theirs = MADE[name]()
    ours, (x, context) = FromFlowJAX(theirs), point(theirs)
    y, log_det, jacobian, back, converged = PROGRAM(ours, x[0], context)
    assert bool(converged)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(back, x[0], rtol=1e-9, atol=1e-9)
    # The role of each side is FlowJAX's: `transform` leads to the data.
    known, known_det = theirs.inverse_and_log_det(x[0], context)
    np.testing.assert_allclose(y, known, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(log_det, known_det, rtol=1e-12, atol=1e-12)
    eager = strictly(ours.forward_and_log_det)(x[0], context=context)
    np.testing.assert_allclose(eager[0], y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(eager[1], log_det, rtol=1e-12, atol=1e-12)
    ys, log_dets = BATCH(ours, x, context)
    np.testing.assert_allclose(ys[0], y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(log_dets[0], log_det, rtol=1e-12, atol=1e-12)
    assert log_dets.shape == (6,)


NARROW = ["conditional coupling", "scan", "permutation"]


@pytest.mark.parametrize("name", NARROW)
def test_single_precision_where_flowjax_makes_doubles_of_its_own(name):
    theirs = MADE[name]()
    x, context = point(theirs)
    known, known_det = FromFlowJAX(theirs).forward_and_log_det(x[0], context=context)
    single = lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf
    x, context, theirs = jax.tree.map(single, (x, context, theirs))
    y, log_det, _, back, _ = PROGRAM(FromFlowJAX(theirs), x[0], context)
    assert y.dtype == log_det.dtype == back.dtype == jnp.float32
    np.testing.assert_allclose(y, known, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(log_det, known_det, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(back, x[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NARROW)
def test_single_precision_alone(name, x32):
    theirs = CASES[name]()
    x, context = point(theirs, jnp.float32)
    y, log_det, jacobian, back, _ = PROGRAM(FromFlowJAX(theirs), x[0], context)
    assert y.dtype == log_det.dtype == back.dtype == jnp.float32
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(back, x[0], rtol=1e-4, atol=1e-5)


def test_a_normal_of_known_moments():
    """By the density of A z + b, which neither library has a part in."""
    theirs = triangular()
    matrix, shift = np.asarray(theirs.transform(jnp.zeros(3))), None
    shift = matrix
    matrix = np.stack([np.asarray(theirs.transform(e)) - shift for e in np.eye(3)], axis=1)
    known = multivariate_normal(shift, matrix @ matrix.T)
    flow = ResidualFlow(FromFlowJAX(theirs), StandardNormal(3))
    x = jr.normal(jr.key(0), (5, 3))
    np.testing.assert_allclose(strictly(flow.log_prob)(x), known.logpdf(x), rtol=1e-9)
    draws = strictly(flow.sample)(jr.key(1), (4000,))
    error = 4 * np.sqrt(np.diag(known.cov) / 4000)
    assert (np.abs(draws.mean(axis=0) - shift) < error).all()


def test_theirs_goes_wherever_ours_goes():
    base, x = StandardNormal(3), point(MADE["coupling"]())[0]
    part = FromFlowJAX(MADE["coupling"]())
    flow = ResidualFlow(Chain([ActNorm(3), part, Reverse()]), base)
    known = Transformed(TheirNormal((3,)), MADE["coupling"]()).log_prob(x)
    np.testing.assert_allclose(strictly(flow.log_prob)(x), known, rtol=1e-12)
    stacked = Stacked(
        eqx.filter_vmap(lambda b: FromFlowJAX(fj.Affine(b, 2.0)))(jnp.ones((2, 3))), remat=True
    )
    y, log_det = strictly(stacked.forward_and_log_det)(x[0])
    np.testing.assert_allclose(y, ((x[0] - 1) / 2 - 1) / 2, rtol=1e-12)
    np.testing.assert_allclose(log_det, -6 * np.log(2), rtol=1e-12)
    cnf = CNF(ConcatSquashMLP(3, width=4, depth=1, key=jr.key(0)), base, steps=2)
    mapped = MappedFlow(cnf, part)
    z, slope = part.forward_and_log_det(x[0])
    found = strictly(mapped.log_prob)(x[0])
    np.testing.assert_allclose(found, cnf.log_prob(z) + slope, rtol=1e-9)
    back = mapped.transform_and_log_det(mapped.inverse_and_log_det(x)[0])[0]
    np.testing.assert_allclose(back, x, atol=1e-4)  # two steps of a solve


def test_a_condition_is_a_context():
    theirs = MADE["conditional coupling"]()
    x, context = point(theirs)
    flow = ResidualFlow(FromFlowJAX(theirs), StandardNormal(3), context_shape=2)
    known = Transformed(TheirNormal((3,)), theirs).log_prob(x, context)
    np.testing.assert_allclose(strictly(flow.log_prob)(x, context=context), known, rtol=1e-12)
    np.testing.assert_allclose(Given(flow, context).log_prob(x), known, rtol=1e-12)
    np.testing.assert_allclose(FlowFamily(flow)(context).log_prob(x), known, rtol=1e-12)
    part = FromFlowJAX(theirs)
    with pytest.raises(ValueError, match=r"`cond_shape` of this bijection of FlowJAX, \(2,\), got"):
        part.forward_and_log_det(x[0])
    with pytest.raises(ValueError, match=r"has the shape \(3,\), got \(6, 3\)"):
        part.forward_and_log_det(x, context=context)
    # One that has none leaves it alone, as ours do.
    alone = FromFlowJAX(MADE["permutation"]())
    assert alone.context_shape is None
    np.testing.assert_array_equal(
        alone.forward_and_log_det(x[0], context=context)[0], alone.forward_and_log_det(x[0])[0]
    )


def test_what_is_no_bijection_of_theirs_is_refused():
    with pytest.raises(TypeError, match=r"got Reverse; it is one of ours already"):
        FromFlowJAX(Reverse())
    with pytest.raises(TypeError, match=r"got StandardNormal; of a distribution .* its `bijection"):
        FromFlowJAX(TheirNormal((3,)))
    with pytest.raises(TypeError, match=r"must be bijections"):
        to_flowjax(fj.Flip((3,)), 3)
    with pytest.raises(TypeError, match=r"must be bijections"):
        Inverse(fj.Flip((3,)))


def test_what_is_not_trainable_there_is_not_here_even_under_decay(tmp_path):
    held = jnp.arange(3.0)
    affine = fj.Affine(jnp.zeros(3), jnp.ones(3))
    theirs = eqx.tree_at(lambda b: b.loc, affine, paramax.NonTrainable(held))
    flow = ResidualFlow(FromFlowJAX(theirs), StandardNormal(3))
    assert len(jax.tree.leaves(eqx.filter(flow.bijection, eqx.is_inexact_array))) == 1
    x = 2.0 + jr.normal(jr.key(0), (64, 3))
    trained, _ = strictly(fit)(
        flow, maximum_likelihood_loss, x, optimiser=optax.adamw(0.1, weight_decay=0.5), steps=5,
        batch_size=32, folder=tmp_path, key=jr.key(1), progress=False,
    )  # fmt: skip
    at = lambda flow: paramax.unwrap(flow.bijection.bijection)
    np.testing.assert_array_equal(at(trained).loc, held)
    assert np.abs(at(trained).scale - 1).min() > 0.01
    loaded = load_model(tmp_path, flow)
    np.testing.assert_array_equal(loaded.log_prob(x), trained.log_prob(x))
    assert isinstance(loaded.bijection.bijection.loc.held, Constant)
    other = ResidualFlow(FromFlowJAX(affine), StandardNormal(3))
    with pytest.raises(CheckpointError):
        load_model(tmp_path, other)


def residual(key):
    net = LipschitzMLP(3, 4, 1, bound=0.8, key=key)
    return Chain([ResidualBlock(net), moved(ActNorm(3))])


@functools.cache
def ours():
    return residual(jr.key(3))


def test_ours_within_theirs_is_the_same_density():
    x = jr.normal(jr.key(0), (5, 3))
    flow = ResidualFlow(ours(), StandardNormal(3))
    chain = fj.Chain([fj.Affine(jnp.ones(3), 2.0), to_flowjax(ours(), 3)])

    @eqx.filter_jit
    def all_of(x, key):
        theirs = Transformed(TheirNormal((3,)), to_flowjax(ours(), 3))
        y, log_det = chain.transform_and_log_det(x[0])
        back = chain.inverse_and_log_det(y)
        jacobian = jax.jacfwd(chain.inverse)(y)
        draws = theirs.sample_and_log_prob(key, (5,))
        return theirs.log_prob(x), draws, log_det, back, jacobian

    scores, (draws, own), log_det, (back, back_det), jacobian = all_of(x, jr.key(1))
    np.testing.assert_allclose(scores, flow.log_prob(x), rtol=1e-10)
    np.testing.assert_allclose(own, flow.log_prob(draws), rtol=1e-6)
    np.testing.assert_allclose(back, x[0], atol=1e-8)
    np.testing.assert_allclose(back_det, -log_det, atol=1e-7)
    np.testing.assert_allclose(back_det, np.linalg.slogdet(jacobian)[1], rtol=1e-9)
    eager = chain.bijections[1].inverse_and_log_det(x[0])[1]
    np.testing.assert_allclose(eager, flow.inverse_and_log_det(x)[1][0], rtol=1e-10)


def test_there_and_back_again():
    """Theirs as ours as theirs, with what is not trainable inside what is made of it."""
    scale = paramax.Parameterize(jnp.exp, paramax.NonTrainable(jnp.arange(3.0)))
    theirs = eqx.tree_at(lambda b: b.scale, fj.Affine(jnp.ones(3), jnp.ones(3)), scale)
    again = Transformed(TheirNormal((3,)), to_flowjax(FromFlowJAX(theirs), 3))
    x = jr.normal(jr.key(0), (2, 3))
    known = Transformed(TheirNormal((3,)), theirs).log_prob(x)
    np.testing.assert_allclose(again.log_prob(x), known, rtol=1e-12)
    conditional = MADE["conditional coupling"]()
    again = to_flowjax(FromFlowJAX(conditional), 3, context_shape=2)
    rows, context = point(conditional)
    assert again.cond_shape == (2,)
    for method in ("transform_and_log_det", "inverse_and_log_det"):
        found = getattr(again, method)(rows[0], context)
        for one, other in zip(found, getattr(conditional, method)(rows[0], context), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_what_flowjax_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"of \(2, 2\) it makes \(4,\)\. Leave out"):
        to_flowjax(Flatten((2, 2)), (2, 2))
    with pytest.raises(ValueError, match=r"`max_steps`"):
        to_flowjax(Reverse(), 3, max_steps=0)
    estimated = ResidualBlock(
        LipschitzMLP(3, 4, 1, bound=0.8, key=jr.key(0)), log_det=RouletteLogDet()
    )
    with pytest.raises(ValueError, match="key"):
        to_flowjax(estimated, 3)


@pytest.mark.parametrize("name", ["residual", "logit", "coupling"])
def test_an_inverse_is_a_bijection(name):
    inner = {
        "residual": ours,
        "logit": lambda: Logit(0.05),
        "coupling": lambda: FromFlowJAX(MADE["coupling"]()),
    }[name]()
    inverse = Inverse(inner)
    x = jr.uniform(jr.key(0), (3,), minval=0.1, maxval=0.9)
    y, log_det, jacobian, back, converged = PROGRAM(inverse, x, None)
    assert bool(converged)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(back, x, atol=1e-8)
    np.testing.assert_allclose(inner.forward_and_log_det(y)[0], x, atol=1e-8)
    _, image = strictly(inverse.initialise)(x[None])
    np.testing.assert_allclose(image[0], y, rtol=1e-9)
    if name == "coupling":
        again = strictly(Inverse(inverse).forward_and_log_det)(y)
        np.testing.assert_allclose(again[0], x, atol=1e-8)
        np.testing.assert_allclose(again[1], -log_det, atol=1e-8)


def test_an_inverse_that_is_not_found_says_so():
    with pytest.raises(RuntimeError, match="did not converge"):
        Inverse(ours(), solver=optx.FixedPointIteration(1e-12, 1e-12), max_steps=1).initialise(
            jnp.ones((2, 3))
        )


@pytest.mark.parametrize(("dim", "context"), [(1, None), (3, None), (2, (2, 1))])
def test_a_flow_of_splines_has_a_mass_of_one_and_starts_as_its_base(dim, context):
    flow = spline_coupling_flow(
        dim, layers=2, width=4, knots=3, interval=3.0, context=context, key=jr.key(0)
    )
    c = None if context is None else jnp.ones(context)
    x = 1.5 * jr.normal(jr.key(1), (5, dim))
    start = strictly(flow.log_prob)(x, context=c)
    normal = -0.5 * np.sum(np.square(x), axis=1) - 0.5 * dim * np.log(2 * np.pi)
    np.testing.assert_allclose(start, normal, rtol=1e-9)
    flow = eqx.tree_at(lambda flow: flow.bijection, flow, moved(flow.bijection))
    z, log_det = strictly(flow.inverse_and_log_det)(x, context=c)
    back, other = strictly(flow.transform_and_log_det)(z, context=c)
    np.testing.assert_allclose(back, x, atol=1e-9)
    np.testing.assert_allclose(other, -log_det, atol=1e-9)
    assert np.abs(strictly(flow.log_prob)(x, context=c) - start).min() > 1e-3
    if dim < 3:
        points = 4001 if dim == 1 else 161
        axis = np.linspace(-14, 14, points)
        grid = np.stack(np.meshgrid(*dim * [axis]), axis=-1).reshape(-1, dim)
        mass = np.exp(flow.log_prob(grid, context=c)).sum() * (axis[1] - axis[0]) ** dim
        assert mass == pytest.approx(1, abs=3e-3)


def test_splines_are_the_identity_outside_of_their_interval():
    """So tails are those of the base under an affine map: log-densities are quadratic there."""
    flow = spline_coupling_flow(1, layers=2, width=4, interval=2.0, key=jr.key(0))
    flow = eqx.tree_at(lambda flow: flow.bijection.parts[1], flow, moved(flow.bijection.parts[1]))
    far = jnp.linspace(50.0, 60.0, 11)[:, None]
    z, log_det = flow.inverse_and_log_det(far)
    np.testing.assert_allclose(np.diff(z[:, 0], 2), 0, atol=1e-9)
    np.testing.assert_allclose(log_det, log_det[0], rtol=1e-9)
    near = flow.inverse_and_log_det(jnp.linspace(-1.5, 1.5, 11)[:, None])[1]
    assert np.ptp(near) > 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 0}, "`dim`"),
        ({"knots": 0}, "`knots`"),
        ({"interval": 0.0}, "`interval` must be above 0 and finite, got 0.0"),
        ({"interval": float("inf")}, "`interval`"),
        ({"interval": 1e-8}, "`interval` must be above 0.0045 for 8 `knots`, got 1e-08"),
        ({"support": "round"}, "support"),
    ],
)
def test_settings_of_a_flow_of_splines(settings, message):
    with pytest.raises(ValueError, match=message):
        spline_coupling_flow(**{"dim": 2, **settings}, key=jr.key(0))


def test_a_flow_of_splines_loads_into_an_outline(tmp_path):
    make = lambda: spline_coupling_flow(2, layers=1, width=4, knots=2, key=jr.key(0))
    x = jr.normal(jr.key(0), (32, 2))
    trained, _ = strictly(fit)(
        make(), maximum_likelihood_loss, x, optimiser=optax.adam(0.01), steps=2, batch_size=32,
        folder=tmp_path, key=jr.key(1), progress=False,
    )  # fmt: skip
    loaded = load_model(tmp_path, eqx.filter_eval_shape(make))
    np.testing.assert_array_equal(loaded.log_prob(x), trained.log_prob(x))


@pytest.mark.parametrize(
    ("name", "inside", "known"),
    [
        ("Exp", [1.0, 2.0], lambda x: norm.logpdf(np.log(x)) - np.log(x)),
        ("Sigmoid", [0.3, 0.4], lambda x: norm.logpdf(logit(x)) - np.log(x * (1 - x))),
        ("Tanh", [0.3, -0.4], lambda x: norm.logpdf(np.arctanh(x)) - np.log1p(-(x**2))),
    ],
)
def test_a_point_to_which_theirs_does_not_lead_has_no_density(name, inside, known):
    """FlowJAX's own is NaN there."""
    flow = ResidualFlow(FromFlowJAX(getattr(fj, name)((2,))), StandardNormal(2))
    x = jnp.asarray([inside, [-1.5, 0.3], [0.3, -1.0], [jnp.nan, 0.3]])
    known = known(np.asarray(inside)).sum()
    for log_prob in (flow.log_prob, jax.jit(flow.log_prob)):
        found = strictly(log_prob)(x)
        np.testing.assert_allclose(found, [known, -np.inf, -np.inf, np.nan], rtol=1e-9)
    # What the parameters or the context say is not put right.
    broken = eqx.tree_at(lambda b: b.loc, fj.Affine(jnp.zeros(2), 1.0), jnp.full(2, jnp.nan))
    assert np.isnan(FromFlowJAX(broken).forward_and_log_det(jnp.ones(2))[0]).all()
    conditional = FromFlowJAX(MADE["conditional coupling"]())
    hole = jnp.full(2, jnp.nan)
    assert np.isnan(conditional.forward_and_log_det(jnp.ones(3), context=hole)[0]).any()


def test_a_draw_to_which_a_closed_form_does_not_lead_raises():
    for bijection in (FromFlowJAX(fj.Invert(fj.Exp((2,)))), Inverse(Logit(0.0))):
        flow = ResidualFlow(bijection, StandardNormal(2))  # not all of whose draws are above 0
        with pytest.raises(InverseError, match=r"of 50 points .* outside of what a map in closed"):
            flow.sample(jr.key(0), (50,))
        assert np.isfinite(flow.transform_and_log_det(jnp.full((3, 2), 0.5))[0]).all()


def test_an_inverse_that_is_rounded_to_where_there_is_no_image_raises():
    """The sigmoid of 100 is 1, whose logit would have the log-determinant infinity."""
    theirs = to_flowjax(Logit(0.0), 1)
    for found in (Inverse(Logit(0.0)).forward_and_log_det, theirs.transform_and_log_det):
        np.testing.assert_allclose(found(jnp.full(1, 8.0))[1], -8 - 2 * np.log1p(np.exp(-8)))
        with pytest.raises(InverseError, match=r"1 of 1 points .* steps; largest"):
            found(jnp.full(1, 100.0))
    with pytest.raises(InverseError, match="1 of 1 points"):
        Inverse(ours()).forward_and_log_det(jnp.full(3, jnp.nan))


def test_what_is_no_array_of_floats_is_refused():
    part = FromFlowJAX(fj.Affine(jnp.ones(2), 2.0))
    for point, got in ((jnp.asarray([1, 2]), "int64"), ([1.0, 2.0], "list")):
        with pytest.raises(TypeError):
            part.forward_and_log_det(point)
        if got != "list":
            with pytest.raises(TypeError, match=f"array of floats, got {got}"):
                part._ask("inverse_and_log_det", point, None)


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (0, ValueError, r"`shape` must be of sizes of 1 or more, got \(0,\)"),
        ((2, -1), ValueError, "`shape` must be of sizes"),
        ((True,), TypeError, "`shape` must be a whole number"),
    ],
)
def test_a_shape_is_of_whole_numbers(shape, error, message):
    with pytest.raises(error, match=message):
        to_flowjax(Reverse(), shape)


def test_sizes_of_any_kind_of_whole_number():
    assert sizes_of("shape", np.int64(2)) == (2,)
    for wrong in (2.0, "2", None, (2.0,)):
        with pytest.raises(TypeError, match="`shape` must be a whole number or a tuple"):
            sizes_of("shape", wrong)


def test_what_is_no_solver_is_refused():
    wrong: Any = "newton"
    with pytest.raises(TypeError, match="solver"):
        Inverse(Reverse(), solver=wrong)
    with pytest.raises(TypeError, match=r"`solver` must be of Optimistix.*got 'newton'"):
        require_solver(wrong)


def test_the_splines_of_a_flow_are_those_of_the_settings():
    """Beside the same layers, written by hand of the spline's own numbers (Durkan et al. 3.1)."""
    flow = spline_coupling_flow(1, layers=1, width=4, knots=3, interval=2.0, key=jr.key(0))
    part: Any = moved(flow.bijection.parts[1])
    layer = jax.tree.map(
        lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, part.bijection.bijection.bijection
    )
    vmapped, _, lower, upper = (paramax.unwrap(each) for each in layer.bijections)
    bend = jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, vmapped.bijection)
    knots, images, slopes = (np.asarray(a) for a in (bend.x_pos, bend.y_pos, bend.derivatives))
    assert (knots[[0, -1]] == [-2, 2]).all()
    assert len(knots) == 3 + 2  # the ends too

    def by_hand(x):
        if not -2 < x < 2:
            return x
        k = np.searchsorted(knots, x) - 1
        width, height = knots[k + 1] - knots[k], images[k + 1] - images[k]
        s, t = height / width, (x - knots[k]) / width
        top = height * (s * t**2 + slopes[k] * t * (1 - t))
        return images[k] + top / (s + (slopes[k + 1] + slopes[k] - 2 * s) * t * (1 - t))

    x = np.asarray([-2.5, -1.9, -0.7, 0.1, 1.1, 1.99, 3.0])
    bent = jax.vmap(bend.transform)(jnp.asarray(x))
    np.testing.assert_allclose(bent, [by_hand(each) for each in x], rtol=1e-12)
    y = jax.vmap(lambda row: part.forward_and_log_det(row)[0])(x[:, None])[:, 0]
    affine = lambda x: upper.transform(lower.transform(jnp.asarray([x])))[0]
    np.testing.assert_allclose(y, [affine(by_hand(each)) for each in x], rtol=1e-12)


def test_every_column_depends_on_every_other_and_on_the_context():
    flow = spline_coupling_flow(3, layers=2, width=4, context=2, key=jr.key(0))
    part = moved(flow.bijection.parts[1])
    image = lambda x, c: part.forward_and_log_det(x, context=c)[0]
    slopes = jax.jit(jax.jacfwd(image, argnums=(0, 1)))(0.3 * jnp.ones(3), jnp.ones(2))
    for jacobian in slopes:
        assert (np.abs(jacobian) > 1e-6).all()


def test_two_layers_bend_every_column():
    """By the splines alone: at the start the matrices mix nothing."""
    part: Any = spline_coupling_flow(3, layers=2, width=4, key=jr.key(0)).bijection.parts[1]
    at = lambda part: part.bijection.bijection.bijection.bijections[0].conditioner
    bent = eqx.tree_at(at, part, moved(at(part)))
    x = jnp.asarray([-0.8, 0.3, 1.1])
    np.testing.assert_allclose(part.forward_and_log_det(x)[0], x, rtol=1e-9)
    assert (np.abs(bent.forward_and_log_det(x)[0] - x) > 1e-3).all()
