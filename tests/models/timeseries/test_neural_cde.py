"""Neural CDEs against closed forms, sums over pieces, and paths that Diffrax makes."""

from collections.abc import Callable

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy.linalg import expm

import pullback as pb
from pullback.models import timeseries as ts

VARIABLES, CHANNELS, LENGTH = 2, 5, 7


class Fixed(eqx.Module):
    """A field that is told: of numbers and a function of them and the state."""

    numbers: jax.Array
    matrix: Callable = eqx.field(static=True)

    def __call__(self, z):
        return self.matrix(self.numbers, z)

    def columns(self, z, some):
        return self(z)[:, some]


def commuting(generators, z):
    return jnp.einsum("cij,j->ic", generators, z)


def signature(_, z):
    """Of the state (S1, S2): dS1 = dX, dS2 = S1 dX."""
    one = jnp.eye(CHANNELS)
    return jnp.concatenate([one, jnp.kron(z[:CHANNELS, None], one)])


def itself(_, z):
    return jnp.eye(CHANNELS)


def with_field(model, field, size, steps, z0):
    """A model whose field is told, from a start that no observation moves."""
    drive = type(model.drive)(field, steps, diffrax.Bosh3() if steps == 1 else diffrax.Tsit5())
    z0 = jnp.zeros(size) if z0 is None else z0
    return eqx.tree_at(
        lambda m: (m.first.weight, m.first.bias, m.drive),
        model,
        (jnp.zeros((size, 2 * VARIABLES)), z0, drive),
    )


def model_of(field, size, interpolation="linear", steps=1, z0=None):
    model = ts.neural_cde(VARIABLES, size, size, interpolation=interpolation, key=jr.key(0))
    return with_field(model, field, size, steps, z0)


def cell_of(field, size, steps=1, z0=None):
    return with_field(ts.CDECell(VARIABLES, size, key=jr.key(0)), field, size, steps, z0)


def series(seed=0, share=0.6):
    """Times, values and mask; something is seen at either end, and everything at the first."""
    random = np.random.default_rng(seed)
    times = np.cumsum(random.uniform(0.1, 0.8, LENGTH))
    values = random.normal(size=(LENGTH, VARIABLES))
    mask = random.random((LENGTH, VARIABLES)) < share
    mask[[0, -1]] = True
    mask[3] = False
    return jnp.asarray(times), jnp.asarray(values), jnp.asarray(mask)


states = eqx.filter_jit(lambda model, *given: model.states(*given))
after = eqx.filter_jit(lambda cell, *given: jax.vmap(cell.read)(ts.run_cell(cell, *given).after))


def knots(times, values, mask):
    """The path at its times, by NumPy: values in a straight line between the observations."""
    times, values, mask = map(np.asarray, (times, values, mask))
    filled = [np.interp(times, times[m], x[m]) for x, m in zip(values.T, mask.T, strict=True)]
    return np.column_stack([times - times[0], *filled, np.cumsum(mask, axis=0)])


def steps_of(times, values, mask):
    """The rectilinear path from the first observation on: along t, then to the new values."""
    times, values, mask = map(np.asarray, (times, values, mask))
    x, moves = values[0], []
    for i in range(1, len(times)):
        now = np.where(mask[i], values[i], x)
        moves.append(np.concatenate([[times[i] - times[i - 1]], np.zeros(2 * VARIABLES)]))
        moves.append(np.concatenate([[0.0], now - x, mask[i]]))
        x = now
    return np.asarray(moves)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_field_is_its_equation_in_numpy(depth):
    field, z = ts.CDEField(3, 4, width=5, depth=depth, key=jr.key(12)), np.array([0.9, -2.0, 0.4])
    x = z
    for layer in field.layers:
        x = np.tanh(np.asarray(layer.weight) @ x + np.asarray(layer.bias))
    assert len(field.layers) == depth + 1
    np.testing.assert_allclose(field(jnp.asarray(z)), x.reshape(3, 4), rtol=1e-12)
    for some in (slice(0, 1), slice(1, None)):
        found = field.columns(jnp.asarray(z), some)
        np.testing.assert_allclose(found, x.reshape(3, 4)[:, some], rtol=1e-12)


@pytest.mark.parametrize("interpolation", ["linear", "hermite"])
def test_of_commuting_matrices_only_the_ends_of_the_path_count(interpolation):
    given = series()
    base = 0.2 * np.random.default_rng(1).normal(size=(3, 3))
    generators = np.stack([0.7 * base, base @ base, -0.4 * base, 0.1 * base, -0.2 * np.eye(3)])
    z0 = jnp.asarray([1.0, -0.5, 0.3])
    field = Fixed(jnp.asarray(generators), commuting)
    model = model_of(field, 3, interpolation, steps=20, z0=z0)
    # However fast the path is run through.
    for times in (given[0], given[0] ** 2):
        path = knots(times, *given[1:])
        whole = np.einsum("c,cij->ij", path[-1] - path[0], generators)
        found = states(model, times, *given[1:])[-1]
        np.testing.assert_allclose(found, expm(whole) @ z0, rtol=1e-8)
    cell = cell_of(field, 3, steps=20, z0=z0)
    found = after(cell, times, *given[1:])[-1]
    np.testing.assert_allclose(found, expm(whole) @ z0, rtol=1e-8)


@pytest.mark.parametrize("what", ["linear", "cell"])
def test_a_fixed_field_makes_the_signature_of_the_path(what):
    given = series(2)
    field, size = Fixed(jnp.zeros(()), signature), CHANNELS + CHANNELS**2
    if what == "linear":
        moves = np.diff(knots(*given), axis=0)
        found = states(model_of(field, size), *given)[-1]
    else:
        moves = steps_of(*given)
        found = after(cell_of(field, size), *given)[-1]
    one, two = np.zeros(CHANNELS), np.zeros((CHANNELS, CHANNELS))
    for move in moves:
        two += np.outer(one, move) + np.outer(move, move) / 2
        one += move
    np.testing.assert_allclose(found[:CHANNELS], one, atol=1e-12)
    np.testing.assert_allclose(found[CHANNELS:].reshape(two.shape), two, atol=1e-12)


@pytest.mark.parametrize("interpolation", ["linear", "hermite"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_path_is_the_one_that_diffrax_makes_of_what_was_observed(interpolation, seed):
    times, values, mask = series(seed, share=0.4)
    model = model_of(Fixed(jnp.zeros(()), itself), CHANNELS, interpolation)
    found = states(model, times, values, mask)
    every = jnp.ones(LENGTH, bool)
    counts = jnp.cumsum(mask, axis=0).astype(float)
    channels = [(values[:, k], mask[:, k]) for k in range(VARIABLES)]
    channels += [(counts[:, k], every) for k in range(VARIABLES)]
    for k, (x, m) in enumerate(channels, 1):
        at, y = times[m], x[m][:, None]
        if interpolation == "linear":
            path = diffrax.LinearInterpolation(at, y)
        else:
            path = diffrax.CubicInterpolation(at, diffrax.backward_hermite_coefficients(at, y))
        expected = [path.evaluate(t)[0] - y[0, 0] for t in times]
        np.testing.assert_allclose(found[:, k], expected, atol=1e-12)


def test_the_states_are_those_of_an_adaptive_solve_along_diffrax_path():
    times, values, mask = series(3)
    mask = jnp.ones_like(mask)
    model = ts.neural_cde(VARIABLES, 4, 1, interpolation="hermite", key=jr.key(1))
    exact = type(model.drive)(model.drive.field, 16, diffrax.Tsit5())
    model = eqx.tree_at(lambda m: m.drive, model, exact)
    counts = jnp.cumsum(mask, axis=0).astype(float)
    told = jnp.concatenate([(times - times[0])[:, None], values, counts], axis=1)
    path = diffrax.CubicInterpolation(times, diffrax.backward_hermite_coefficients(times, told))
    z0 = states(model, times, values, mask)[0]
    along = lambda t, z, args: args[0](z) @ args[1].derivative(t)
    solution = pb.ode.solve(along, z0, times, (model.drive.field, path), rtol=1e-9, atol=1e-9)
    found = states(model, times, values, mask)
    np.testing.assert_allclose(found, solution.ys, atol=1e-6)


@pytest.mark.parametrize("interpolation", ["linear", "hermite"])
def test_a_time_that_comes_again_is_a_jump_and_padding_is_nothing(interpolation):
    model = ts.neural_cde(VARIABLES, 4, 3, steps=4, interpolation=interpolation, key=jr.key(2))
    times, values, mask = series(4)
    padded = (
        jnp.concatenate([times, times[-1:], times[-1:]]),
        jnp.concatenate([values, jnp.full((2, VARIABLES), jnp.nan)]),
        jnp.concatenate([mask, jnp.zeros((2, VARIABLES), bool)]),
    )
    found = states(model, *padded)
    assert np.array_equal(found[:LENGTH], states(model, times, values, mask))
    assert np.array_equal(found[LENGTH:], found[LENGTH - 1 : -1])
    # A value at the same time, then the same of values that a moment lies between.
    mask = mask.at[4:6].set(True)
    near = times.at[5].set(times[4] + 1e-9)
    expected, found = (states(model, t, values, mask) for t in (near, times.at[5].set(times[4])))
    # The cubic goes a way of its own about a jump, and arrives where the slope is not known.
    upto = 6 if interpolation == "linear" else 5
    np.testing.assert_allclose(found[:upto], expected[:upto], atol=1e-7)
    whole = Fixed(jnp.zeros(()), itself)
    ends = states(model_of(whole, CHANNELS, interpolation), times.at[5].set(times[4]), values, mask)
    path = knots(times.at[5].set(times[4]), values, jnp.ones_like(mask))
    np.testing.assert_allclose(ends[5, 1:3], path[5, 1:3] - path[0, 1:3], atol=1e-12)


def test_one_observation_and_none():
    model = ts.neural_cde(VARIABLES, 4, 3, key=jr.key(3))
    times, values, mask = series()
    alone = states(model, times[:1], values[:1], mask[:1])
    first = model.first(jnp.concatenate([values[0], jnp.ones(VARIABLES)]))
    np.testing.assert_array_equal(alone, first[None])
    nothing = jnp.zeros_like(mask)
    found = states(model, times, jnp.full_like(values, jnp.nan), nothing)
    assert np.isfinite(found).all()
    holes = jnp.full_like(values, jnp.nan)
    gradient = eqx.filter_jit(eqx.filter_grad(lambda m: jnp.sum(m(times, holes, nothing))))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient(model)))


def test_what_comes_later_reaches_no_prediction_before_it():
    model = ts.predictor("cde", VARIABLES, 4, width=6, key=jr.key(4))
    times, values, mask = series(5)
    said = eqx.filter_jit(lambda *given: model.outputs(*given))
    expected = said(times, values, mask)
    assert not np.allclose(said(times, values + 3.0, mask)[1:], expected[1:])
    for at in range(LENGTH):
        other = said(times, values.at[at:].add(3.0), mask.at[at + 1 :].set(True))
        assert np.array_equal(other[: at + 1], expected[: at + 1])


@pytest.mark.parametrize("interpolation", ["linear", "hermite", "cell"])
def test_gradients_are_differences_eagerly_and_compiled(interpolation):
    times, values, mask = series(6)
    if interpolation == "cell":
        model = ts.predictor("cde", VARIABLES, 3, width=4, steps=1, key=jr.key(5))
        value = lambda m, t, x: jnp.sum(jnp.sin(m.outputs(t, x, mask)))
    else:
        model = ts.neural_cde(VARIABLES, 3, 2, width=4, interpolation=interpolation, key=jr.key(5))
        value = lambda m, t, x: jnp.sum(jnp.sin(m.states(t, x, mask)))
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = jax.flatten_util.ravel_pytree((arrays, times, values))

    def of(v):
        weights, t, x = unravel(v)
        return value(eqx.combine(weights, rest), t, x)

    compiled, gradient = jax.jit(of), jax.jit(jax.grad(of))(flat)
    with jax.disable_jit():
        np.testing.assert_allclose(of(flat), compiled(flat), rtol=1e-12)
    random = np.random.default_rng(7)
    for _ in range(4):
        way = jnp.asarray(random.normal(size=flat.shape))
        difference = (compiled(flat + 1e-5 * way) - compiled(flat - 1e-5 * way)) / 2e-5
        np.testing.assert_allclose(gradient @ way, difference, rtol=1e-6)
    # Of what was not observed there is none.
    _, _, of_values = unravel(gradient)
    assert not np.any(np.where(mask, 0.0, of_values))


def test_a_batch_is_each_series_alone_and_single_precision_stays(x32):
    model = ts.neural_cde(VARIABLES, 4, 3, dtype=jnp.float32, key=jr.key(8))
    batch = [series(seed) for seed in range(3)]
    batch = [jnp.stack(a) for a in zip(*batch, strict=True)]
    batch = [a.astype(jnp.float32) if a.dtype != bool else a for a in batch]
    found = eqx.filter_jit(jax.vmap(model))(*batch)
    assert found.dtype == jnp.float32
    alone = eqx.filter_jit(lambda *given: jax.lax.map(lambda one: model(*one), given))(*batch)
    np.testing.assert_allclose(found, alone, rtol=2e-5, atol=1e-6)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="`interpolation` must be 'linear' or 'hermite'"):
        ts.neural_cde(1, 2, 3, interpolation="natural", key=jr.key(0))
    with pytest.raises(ValueError, match="`steps` must be 1 or more, got 0"):
        ts.neural_cde(1, 2, 3, steps=0, key=jr.key(0))
    for build in (
        lambda **k: ts.neural_cde(1, 2, 3, **k),
        lambda **k: ts.predictor("cde", 1, 2, **k),
    ):
        with pytest.raises(TypeError, match=r"`steps` must be a whole number, got 1\.5"):
            build(steps=1.5, key=jr.key(0))  # which would go a third too far
    with pytest.raises(ValueError, match="`outputs` must be 1 or more"):
        ts.neural_cde(1, 2, 0, key=jr.key(0))
    with pytest.raises(ValueError, match="`steps` must be 1 or more, got 0"):
        ts.predictor("cde", 1, 2, steps=0, key=jr.key(0))


def test_series_of_numpy_are_taken_and_shapes_that_do_not_fit_are_refused():
    model, given = ts.neural_cde(VARIABLES, 4, 1, key=jr.key(0)), series()
    found = model.states(*map(np.asarray, given))
    np.testing.assert_allclose(found, states(model, *given), rtol=1e-12)
    times, values, mask = given
    for bad in (
        (times[:0], values[:0], mask[:0]),
        (times, values[:, :1], mask[:, :1]),
        (times, values[:, 0], mask[:, 0]),
        (times[None], values[None], mask[None]),
    ):
        with pytest.raises(ValueError, match=r"one time or more and 2 variables; got .*jax\.vmap"):
            model.states(*bad)


def in_order(count, generator):
    """Series of two pulses, and whether that of the first variable comes first."""
    label = generator.integers(2, size=count)
    times = np.sort(generator.uniform(0, 3, (count, 8)), axis=1)
    first, second = np.sort(np.argsort(generator.random((count, 7)), axis=1)[:, :2] + 1, axis=1).T
    values = 0.1 * generator.normal(size=(count, 8, 2))
    rows = np.arange(count)
    values[rows, first, 1 - label] += 1
    values[rows, second, label] += 1
    mask = generator.random(values.shape) < 0.9
    mask[rows, first] = mask[rows, second] = True
    return ts.Observations(*(jnp.asarray(a) for a in (times, values, mask))), label


def test_the_order_of_events_is_learned_where_summaries_do_not_have_it():
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(9)
    (train, told), (test, label) = in_order(256, generator), in_order(400, generator)

    def loss(model, batch, *, key):
        observed, label = batch
        logits = jax.vmap(model)(*observed)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label)), {}

    model = ts.neural_cde(VARIABLES, 8, 2, width=16, key=jr.key(10))
    model, _ = pb.train.fit(
        model, loss, (train, jnp.asarray(told)), optimiser=optax.adam(2e-2), steps=150,
        batch_size=64, log_every=150, progress=False, key=jr.key(11),
    )  # fmt: skip
    ours = np.mean(np.argmax(jax.vmap(model)(*test), axis=1) == label)
    unordered = lambda o: np.sort(np.where(o.mask, o.values, 0.0), axis=1).reshape(len(o.mask), -1)
    rival = LogisticRegression(max_iter=1000).fit(unordered(train), told)
    # 400 series: chance is one half within four standard errors, 0.1.
    assert abs(rival.score(unordered(test), label) - 0.5) < 0.1
    assert ours > 0.9
