"""Hypergradients against the closed form, finite differences and another library."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import lineax as lx
import numpy as np
import optax
import optimistix as optx
import pytest
import ridge

from pullback.bilevel import (
    ConjugateGradient,
    Exact,
    Identity,
    Implicit,
    Integer,
    Neumann,
    Unrolled,
    hypergradient,
)

KEY = jr.key(0)
VALUES = np.linalg.eigvalsh(ridge.hessian())
LEAST, LARGEST = VALUES[0], VALUES[-1]


def found(method, w=None, hyper=None, inner=ridge.inner, outer=ridge.outer, train=ridge.TRAIN):
    w = ridge.solution() if w is None else w
    hyper = ridge.HYPER if hyper is None else hyper
    return hypergradient(inner, outer, w, hyper, train, ridge.VALIDATION, method=method, key=KEY)


def error_of(got):
    return np.linalg.norm(got.gradient - ridge.exact()) / np.linalg.norm(ridge.exact())


@pytest.mark.parametrize("method", [Implicit(Exact()), Implicit(ConjugateGradient(50, rtol=1e-14))])
def test_exact_inverses_give_the_closed_form(method):
    x, y = ridge.VALIDATION
    for run in ridge.runs():
        got = run(lambda w: found(method, w))(jnp.asarray(ridge.solution()))
        np.testing.assert_allclose(got.gradient, ridge.exact(), rtol=1e-10)
        np.testing.assert_allclose(got.value, np.mean((x @ ridge.solution() - y) ** 2) / 2)
        np.testing.assert_allclose(got.metrics["error"], got.value * 2 * ridge.M)
        assert got.gradient_norm < 1e-12
        assert got.ratio < 1e-10


def test_the_default_is_as_near_as_its_terms_allow():
    got = found(None)
    assert error_of(got) < (1 - LEAST / (1.1 * LARGEST)) ** 21
    assert got.ratio < 0.2


def test_conjugate_gradients_end_after_as_many_steps_as_there_are_weights():
    errors = [
        error_of(found(Implicit(ConjugateGradient(steps, rtol=0.0))))
        for steps in (1, 3, 5, ridge.D)
    ]
    assert errors[0] > 0.1
    assert np.all(np.diff(errors) < 0)
    assert errors[-1] < 1e-12


@pytest.mark.parametrize("terms", [0, 1, 3, 10, 30])
def test_a_series_is_an_unroll_of_one_step_more(terms):
    step = float(0.9 / LARGEST)
    series = found(Implicit(Neumann(terms, step)))
    unrolled = found(Unrolled(terms + 1, optax.sgd(step)))
    np.testing.assert_allclose(series.gradient, unrolled.gradient, rtol=1e-11, atol=1e-13)
    assert unrolled.gradient_norm < 1e-10
    if terms == 0:
        assert jnp.array_equal(series.gradient, found(Implicit(Identity(step))).gradient)


def test_the_error_of_a_series_falls_at_the_rate_of_the_least_curvature():
    few, many = (error_of(found(Implicit(Neumann(n, float(1 / LARGEST))))) for n in (15, 40))
    np.testing.assert_allclose(np.log(many / few) / 25, np.log(1 - LEAST / LARGEST), rtol=0.2)


def test_a_series_of_too_large_steps_is_said_to_diverge():
    with pytest.warns(UserWarning, match="diverges"):
        assert found(Implicit(Neumann(30, float(2.2 / LARGEST)))).ratio > 1


def test_damping_is_added_to_the_curvature():
    w = ridge.solution()
    damped = ridge.hessian() + 0.5 * np.eye(ridge.D)
    want = -np.exp(ridge.HYPER) * w * np.linalg.solve(damped, ridge.outer_slope(w))
    for inverse in (Neumann(300, damping=0.5), ConjugateGradient(50, 1e-13, 0.5), Exact(0.5)):
        np.testing.assert_allclose(found(Implicit(inverse)).gradient, want, rtol=1e-7, atol=1e-9)


def test_hyper_in_both_losses_has_the_signs_of_finite_differences():
    """The direct part is positive and the indirect one negative: neither may take the other's."""

    def outer(w, hyper, batch, *, key):
        return ridge.outer(w, hyper, batch, key=key)[0] + 0.1 * jnp.sum(hyper**2), {}

    def total(hyper):
        return outer(ridge.solution(hyper), hyper, ridge.VALIDATION, key=None)[0]

    step = 1e-5 * np.eye(ridge.D)
    want = [(total(ridge.HYPER + e) - total(ridge.HYPER - e)) / 2e-5 for e in step]
    got = found(Implicit(Exact()), outer=outer).gradient
    np.testing.assert_allclose(got, np.asarray(want), rtol=1e-7, atol=1e-9)


def test_another_library_agrees():
    def minimised(hyper):
        solver = optx.BFGS(rtol=1e-12, atol=1e-12)
        adjoint = optx.ImplicitAdjoint(lx.CG(rtol=1e-12, atol=1e-12))
        objective = lambda w, hyper: ridge.inner(w, hyper, ridge.TRAIN, key=None)[0]
        tags = frozenset({lx.positive_semidefinite_tag})
        with jax.numpy_dtype_promotion("standard"):
            w = optx.minimise(
                objective, solver, jnp.zeros(ridge.D), hyper, adjoint=adjoint, max_steps=10_000,
                tags=tags,
            ).value  # fmt: skip
        return ridge.outer(w, hyper, ridge.VALIDATION, key=None)[0]

    want = jax.jit(jax.grad(minimised))(jnp.asarray(ridge.HYPER))
    np.testing.assert_allclose(found(Implicit(Exact())).gradient, want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_a_learning_rate_is_tuned_by_unrolling_as_finite_differences_say(momentum):
    start = np.random.default_rng(2).normal(size=ridge.D)
    inner = lambda w, hyper, batch, *, key: ridge.inner(w, hyper["decay"], batch, key=key)
    method = Unrolled(7, lambda hyper: optax.sgd(jnp.exp(hyper["rate"]), momentum))

    @jax.jit
    def at(rate):
        hyper = {"decay": jnp.asarray(ridge.HYPER), "rate": rate}
        return found(method, start, hyper, inner=inner)

    want = (at(-2.0 + 1e-5).value - at(-2.0 - 1e-5).value) / 2e-5
    np.testing.assert_allclose(at(-2.0).gradient["rate"], want, rtol=1e-7)


def test_one_key_freezes_the_noise_of_all_products():
    """With a draw for each product the series would be that of no one matrix."""

    def inner(w, hyper, batch, *, key):
        kept = jr.bernoulli(key, 0.5, w.shape).astype(float)
        return ridge.inner(w * kept, hyper, batch, key=key)

    kept = np.asarray(jr.bernoulli(KEY, 0.5, (ridge.D,)))
    got = found(Implicit(Exact()), inner=inner).gradient
    w, want = ridge.solution(), np.zeros(ridge.D)
    part = ridge.hessian()[np.ix_(kept, kept)]
    want[kept] = np.linalg.solve(part, ridge.outer_slope(w)[kept])
    np.testing.assert_allclose(got, -np.exp(ridge.HYPER) * w * want, rtol=1e-9, atol=1e-12)


def test_without_terms_the_mean_over_batches_is_that_of_the_whole():
    method = Implicit(Identity(0.1))
    halves = [
        jax.tree.map(lambda leaf, part=part: leaf[part], ridge.TRAIN)
        for part in (slice(20), slice(20, 40))
    ]
    each = [found(method, train=half).gradient for half in halves]
    np.testing.assert_allclose((each[0] + each[1]) / 2, found(method).gradient, rtol=1e-12)


def test_it_is_mapped_and_differentiated_once_more():
    hypers = jnp.asarray([ridge.HYPER, ridge.HYPER + 0.5])
    gradient = lambda hyper: found(Implicit(Exact()), ridge.solved(hyper), hyper).gradient
    mapped = jax.jit(jax.vmap(gradient))(hypers)
    want = [ridge.exact(np.asarray(hyper)) for hyper in hypers]
    np.testing.assert_allclose(mapped, np.stack(want), rtol=1e-9)
    through = lambda hyper: ridge.outer(ridge.solved(hyper), None, ridge.VALIDATION, key=None)[0]
    second = jax.jit(jax.jacfwd(gradient))(hypers[0])
    np.testing.assert_allclose(second, jax.hessian(through)(hypers[0]), rtol=1e-7, atol=1e-9)


def test_small_eigenvalues_count_in_float32():
    """A third of a thousand weights, and a curvature from 3e-4 to 22: none of it is rounding."""
    rng = np.random.default_rng(0)
    q = jnp.asarray(rng.normal(size=(60, 300)) / 10, jnp.float32)
    goal = jnp.asarray(rng.normal(size=300), jnp.float32)
    decay = jnp.asarray(3e-4, jnp.float32)

    def inner(w, hyper, batch, *, key):
        return jnp.sum((q @ w) ** 2) / 2 + decay * jnp.sum((w - hyper) ** 2) / 2, {}

    def outer(w, hyper, batch, *, key):
        return jnp.sum((w - goal) ** 2) / 2, {}

    w = jnp.zeros(300, jnp.float32)
    got = hypergradient(
        inner, outer, w, w, None, None, method=Implicit(Exact()), key=KEY
    )  # fmt: skip
    matrix = np.asarray(q, float).T @ np.asarray(q, float) + 3e-4 * np.eye(300)
    want = 3e-4 * np.linalg.solve(matrix, -np.asarray(goal, float))
    np.testing.assert_allclose(got.gradient, want, atol=1e-2 * np.linalg.norm(want))
    assert got.ratio < 0.05


@pytest.mark.parametrize("method", [Implicit(Neumann(400, 10.0)), Implicit(ConjugateGradient(5))])
def test_what_is_not_a_number_is_said(method):
    flat = lambda w, hyper, batch, *, key: ((jnp.sum(w) - hyper) ** 2 / 2 * 1e20, {})
    judge = lambda w, hyper, batch, *, key: (jnp.sum(w**2) + w[0], {})
    with pytest.warns(UserWarning, match="is not a number"):
        hypergradient(
            flat, judge, jnp.zeros(2), jnp.asarray(2.0), None, None, method=method, key=KEY
        )


def test_data_that_are_no_numbers_are_said():
    x, y = ridge.TRAIN
    with pytest.warns(UserWarning, match="is not a number"):
        found(Implicit(Neumann(2, 0.1)), train=(x, y), w=np.full(ridge.D, np.nan))


def test_the_outer_loss_sees_no_dropout_and_each_unrolled_step_its_own():
    drop = eqx.nn.Dropout(0.5)
    weights = {"w": jnp.ones(ridge.D), "drop": drop}

    def inner(model, hyper, batch, *, key):
        noise = jr.normal(key, (ridge.D,))
        return jnp.sum((model["w"] - noise) ** 2) / 2 + hyper * jnp.sum(model["w"]), {}

    def outer(model, hyper, batch, *, key):
        return jnp.sum(model["drop"](model["w"], key=key)), {}

    for method in (Implicit(Identity(1.0)), Unrolled(4, optax.sgd(0.0))):
        got = hypergradient(
            inner, outer, weights, jnp.asarray(0.0), None, None, method=method, key=KEY
        )
        np.testing.assert_allclose(got.value, ridge.D)
    got = hypergradient(
        inner, outer, weights, jnp.asarray(0.0), None, None, method=Unrolled(50, optax.sgd(1.0)),
        key=KEY,
    )  # fmt: skip
    assert got.gradient_norm > 1  # one draw for all steps would be fitted to the end


def test_the_losses_are_traced_a_few_times_and_not_once_a_term():
    traces = []

    def inner(w, hyper, batch, *, key):
        traces.append(None)
        return ridge.inner(w, hyper, batch, key=key)

    go = jax.jit(lambda w: found(Implicit(Neumann(50, 0.1)), w, inner=inner).gradient)
    go(jnp.asarray(ridge.solution()))
    first = len(traces)
    assert first < 10
    go(jnp.asarray(ridge.solution()))
    assert len(traces) == first


def _no_pair(w, hyper, batch, *, key):
    return jnp.sum(w)


def _without_hyper(w, hyper, batch, *, key):
    return ridge.outer(w, hyper, batch, key=key)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"outer": ridge.inner}, ValueError, "are one loss, and must be two"),
        ({"inner": "mse"}, TypeError, "inner"),
        ({"hyper": np.ones(ridge.D, int)}, TypeError, "real floating, got int64"),
        ({"hyper": np.ones(ridge.D, complex)}, TypeError, "real floating, got complex"),
        ({"hyper": {"decay": 0.5}}, TypeError, r"hyper\['decay'\] is the Python number 0.5"),
        ({"hyper": {"n": Integer(2, 0, 4)}}, TypeError, r"hyper\['n'\] is an `Integer`"),
        ({"hyper": {}}, TypeError, "no hyperparameters"),
        ({"inner": _no_pair}, TypeError, "a floating scalar and a dict"),
        ({"inner": _without_hyper}, ValueError, "does not enter the gradient of `inner` or"),
        ({"w": 0.5}, TypeError, "`model` has no weights"),
        ({"method": Exact()}, TypeError, "`method` must be an `AbstractHypergradient`"),
        ({"method": Unrolled(2, 0.1)}, TypeError, "`optimiser` must be an Optax"),
        ({"method": Unrolled(2)}, ValueError, "needs the optimiser"),
        ({"method": Unrolled(2, optax.adam(0.1))}, ValueError, "eps_root=1e-14"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(settings, error, words):
    with pytest.raises(error, match=words):
        found(settings.pop("method", None), **settings)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Neumann(-1), "`terms` must be 0 or more"),
        (lambda: Neumann(1, 0.0), "`step_size` must be above 0"),
        (lambda: Neumann(1, damping=-1.0), "`damping` must be 0 or more"),
        (lambda: Identity(float("nan")), "`step_size` must be above 0"),
        (lambda: ConjugateGradient(0), "`max_steps` must be 1 or more"),
        (lambda: Exact(damping=float("inf")), "`damping` must be 0 or more"),
        (lambda: Unrolled(0), "`steps` must be 1 or more"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
