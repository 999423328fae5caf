"""Cells on irregular series: what they nest, what they must not see, and gaps that add up."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest

from lazily import Lazily
from pullback.models import timeseries as ts

# Slow: minutes of compiling.

KINDS = ("gru", "gru-gap", "decay", "gru-d", "ode", "cde")
SIZE, VARIABLES = 4, 2


def cell_of(kind, key=0):
    cell = ts.recurrent_cell(kind, VARIABLES, SIZE, width=6, steps=4, key=jr.key(key))
    # The weights of a fresh field are so small that a wrong flow would not show.
    return jax.tree.map(lambda w: 2 * w if eqx.is_inexact_array(w) else w, cell)


def gaussian_cell(flow=True):
    transition = (
        ts.ODETransition(ts.TanhField(SIZE, width=6, key=jr.key(5)), steps=4) if flow else None
    )
    return ts.GaussianGRUCell(
        VARIABLES, SIZE, width=5, transition=transition, time_gap=not flow, key=jr.key(6)
    )


CELLS = Lazily(
    {kind: functools.partial(cell_of, kind) for kind in KINDS}
    | {"gaussian": gaussian_cell, "gaussian-gap": lambda: gaussian_cell(flow=False)}
)


def series(seed=0, length=5):
    random = np.random.default_rng(seed)
    times = jnp.asarray(np.cumsum(random.uniform(0.1, 0.8, length)))
    values = jnp.asarray(random.normal(size=(length, VARIABLES)))
    mask = np.asarray(random.random((length, VARIABLES)) < 0.6)
    mask[1], mask[2] = False, True
    return times, values, jnp.asarray(mask)


@eqx.filter_jit
def features(cell, times, values, mask, *, reverse=False):
    path = ts.run_cell(cell, times, values, mask, reverse=reverse)
    return jax.vmap(cell.read)(path.after), cell.read(path.last)


def test_a_linear_field_is_exponential_decay():
    tau, gap = jnp.asarray(1.7), jnp.asarray(0.9)
    flow = ts.ODETransition(lambda t, h, args: -tau * h, steps=20, solver=diffrax.Tsit5())
    h = jnp.asarray([1.0, -2.0])
    expected = h * jnp.exp(-tau * gap)
    np.testing.assert_allclose(flow(h, jnp.asarray(0.3), 0.3 + gap), expected, atol=1e-8)
    decay = ts.Decay(jnp.log(jnp.expm1(jnp.full(2, tau))))
    for end in (0.3 + gap, 0.3 - gap):
        np.testing.assert_allclose(decay(h, jnp.asarray(0.3), end), expected, rtol=1e-12)


def test_with_a_field_of_zero_the_ode_rnn_is_a_gru_to_the_bit():
    gru = cell_of("gru")
    still = ts.ODETransition(lambda t, h, args: jnp.zeros_like(h), steps=3)
    ode = eqx.tree_at(lambda cell: cell.transition, gru, still)
    for one, other in zip(features(gru, *series()), features(ode, *series()), strict=True):
        assert np.array_equal(one, other)


def test_the_masked_gru_is_equinox_gru_in_a_python_loop():
    cell, (times, values, mask) = cell_of("gru"), series()
    h = jnp.zeros(SIZE)
    for x, m in zip(values, mask, strict=True):
        if m.any():
            h = cell.gru(jnp.concatenate([jnp.where(m, x, 0.0), m.astype(float)]), h)
    np.testing.assert_allclose(features(cell, times, values, mask)[1], h, rtol=1e-12)


def test_gru_d_is_its_equations_in_numpy():
    cell = cell_of("gru-d")
    cell = eqx.tree_at(lambda c: c.mean, cell, jnp.asarray([0.3, -0.2]))
    times, values, mask = (np.asarray(a) for a in series())
    weight, bias = (np.asarray(a) for a in (cell.hidden_decay.weight, cell.hidden_decay.bias))
    w, b = (np.asarray(a) for a in cell.input_decay)
    mean = np.asarray(cell.mean)
    h, last, seen_at, first = np.zeros(SIZE), mean.copy(), None, True
    for t, x, m in zip(times, values, mask, strict=True):
        if not m.any():
            continue
        # Until something is seen no time has passed.
        since = np.zeros(VARIABLES) if first else t - seen_at
        seen_at = np.full(VARIABLES, t) if first else seen_at
        first = False
        h = h * np.exp(-np.maximum(0, weight @ since + bias))
        gamma = np.exp(-np.maximum(0, w * since + b))
        filled = np.where(m, x, gamma * last + (1 - gamma) * mean)
        h = np.asarray(cell.gru(jnp.asarray(np.concatenate([filled, m])), jnp.asarray(h)))
        last, seen_at = np.where(m, x, last), np.where(m, t, seen_at)
    since = times[-1] - seen_at
    expected = h * np.exp(-np.maximum(0, weight @ since + bias))
    np.testing.assert_allclose(features(cell, times, values, mask)[1], expected, rtol=1e-10)


def test_the_gaussian_cell_is_its_equations_in_numpy():
    cell, random = gaussian_cell(), np.random.default_rng(1)
    y, s = random.normal(size=SIZE), np.abs(random.normal(size=SIZE))
    x, m = random.normal(size=VARIABLES), np.array([True, False])

    def mlp(net, v):
        (w0, b0), (w1, b1) = ((np.asarray(a.weight), np.asarray(a.bias)) for a in net.layers)
        return w1 @ np.tanh(w0 @ v + b0) + b1

    gates = 1 / (1 + np.exp(-mlp(cell.gates, np.concatenate([y, s, x, m]))))
    u, r = gates[:SIZE], gates[SIZE:]
    new = mlp(cell.candidate, np.concatenate([y * r, s * r, x, m]))
    expected = (
        (1 - u) * new[:SIZE] + u * y,
        np.abs((1 - u) * np.abs(new[SIZE:]) + u * s),
    )
    state = tuple(jnp.asarray(a) for a in (y, s, np.zeros(1)))
    found = cell.jump(state, jnp.asarray(x), jnp.asarray(m))
    for one, other in zip(found, expected, strict=False):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_what_lies_under_the_mask_reaches_no_value_and_no_gradient(name):
    times, values, mask = series()
    clean = jnp.where(mask, values, 0.0)
    results = []
    for garbage in (0.0, 1e6, jnp.nan):
        filled = jnp.where(mask, clean, garbage)
        results.append(jax.tree.leaves(_outcome_and_gradients(CELLS[name], times, filled, mask)))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert np.array_equal(one, two)
    assert np.all(np.asarray(results[0][-1])[~np.asarray(mask)] == 0)


@eqx.filter_jit
def _outcome_and_gradients(cell, times, values, mask):
    params, rest = eqx.partition(cell, eqx.is_inexact_array)

    def outcome(params, values):
        after, last = features(eqx.combine(params, rest), times, values, mask)
        return jnp.sum(jnp.sin(after)) + jnp.sum(last)

    return jax.value_and_grad(outcome, argnums=(0, 1))(params, values)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_padding_changes_nothing(name, reverse):
    times, values, mask = series()
    padded = (
        jnp.concatenate([times, jnp.repeat(times[-1:], 3)]),
        jnp.concatenate([values, jnp.full((3, VARIABLES), 7.0)]),
        jnp.concatenate([mask, jnp.zeros((3, VARIABLES), bool)]),
    )
    plain, long = (
        features(CELLS[name], *each, reverse=reverse) for each in ((times, values, mask), padded)
    )
    np.testing.assert_allclose(long[1], plain[1], rtol=0, atol=1e-14)
    np.testing.assert_allclose(long[0][:5], plain[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_an_empty_time_changes_only_how_a_gap_is_cut(name, reverse):
    times, values, mask = series()
    middle = (times[2] + times[3]) / 2
    more = (
        jnp.insert(times, 3, middle),
        jnp.insert(values, 3, 9.0, axis=0),
        jnp.insert(mask, 3, False, axis=0),
    )
    plain, cut = (
        features(CELLS[name], *each, reverse=reverse)[1] for each in ((times, values, mask), more)
    )
    tolerance = 1e-5 if name in ("ode", "cde", "gaussian") else 1e-13
    np.testing.assert_allclose(cut, plain, rtol=0, atol=tolerance)


def test_gaps_add_up_by_the_order_of_the_method_and_not_by_one_euler_step():
    field = ts.TanhField(SIZE, width=6, key=jr.key(3))
    field = jax.tree.map(lambda w: 8 * w if eqx.is_inexact_array(w) else w, field)
    h, ends = jnp.asarray([0.4, -0.3, 0.8, 0.1]), [jnp.asarray(t) for t in (0.0, 0.35, 1.0)]

    def error(**options):
        flow = ts.ODETransition(field, **options)
        twice = flow(flow(h, ends[0], ends[1]), ends[1], ends[2])
        return float(jnp.max(jnp.abs(twice - flow(h, ends[0], ends[2]))))

    euler = error(steps=1, solver=diffrax.Euler())
    errors = [error(steps=steps) for steps in (4, 8, 16)]
    assert euler > 1e-2
    assert errors[-1] < 5e-5
    # Third order: half the step, an eighth of the error.
    assert errors[0] / errors[1] > 5
    assert errors[1] / errors[2] > 5


def test_before_anything_is_seen_nothing_moves():
    times = jnp.asarray([0.0, 1.0, 2.0])
    mask = jnp.zeros((3, VARIABLES), bool).at[2].set(True)
    for cell in CELLS.values():
        path = ts.run_cell(cell, times, jnp.ones((3, VARIABLES)), mask)
        start = np.asarray(cell.read(cell.start()))
        assert np.array_equal(cell.read(jax.tree.map(lambda a: a[1], path.after)), start)
        assert path.seen.tolist() == [False, False, True]


def test_a_run_in_reverse_is_a_run_over_the_mirrored_series():
    times, values, mask = series()
    cell = cell_of("decay")  # it looks at the length of a gap, not at its sign
    back = features(cell, times, values, mask, reverse=True)[1]
    mirrored = features(cell, -times[::-1], values[::-1], mask[::-1])[1]
    np.testing.assert_allclose(back, mirrored, rtol=1e-12)


def test_the_predictor_sees_the_past_only_and_agrees_with_itself():
    times, values, mask = series()
    model = ts.predictor("ode", VARIABLES, SIZE, width=6, key=jr.key(8))
    at = jnp.asarray(2)
    slopes = jax.jit(jax.jacobian(lambda x: model.one_step(times, x, mask)))(values)
    influence = np.abs(np.asarray(slopes)).sum(axis=(1, 3))
    assert np.all(influence[np.triu_indices(5)] == 0)
    assert influence[4, 2] > 0
    # Asked at the series' own times it says what it said before each was seen.
    said = model.predict(times, values, mask, times)
    np.testing.assert_allclose(said, model.one_step(times, values, mask), rtol=1e-12)
    # Between them it is the flow of the last state.
    state = ts.run_cell(model.cell, times[:3], values[:3], mask[:3]).last
    t = times[at] + 0.05
    expected = model.readout(model.cell.read(model.cell.evolve(state, times[at], t)))
    np.testing.assert_allclose(model.predict(times, values, mask, t[None])[0], expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["gru-gap", "ode"])
def test_a_forecast_is_a_prediction_that_sees_its_own_predictions(kind):
    times, values, mask = series()
    model = ts.predictor(kind, VARIABLES, SIZE, width=6, key=jr.key(8))
    queries = times[-1] + jnp.array([0.0, 0.3, 1.1])
    said = model.forecast(times, values, mask, queries)
    # The first is asked at the last time itself, where `predict` says what it said before.
    state = ts.run_cell(model.cell, times, values, mask).last
    expected = [model.readout(model.cell.read(model.cell.evolve(state, times[-1], queries[0])))]
    for t in queries[1:]:
        times, mask = (
            jnp.append(times, queries[len(expected) - 1]),
            jnp.pad(mask, ((0, 1), (0, 0)), constant_values=True),
        )
        values = jnp.vstack([values, expected[-1]])
        expected.append(model.predict(times, values, mask, t[None])[0])
    np.testing.assert_allclose(said, jnp.stack(expected), rtol=1e-10)
    # With nothing seen there is no gap to cross.
    nothing = jnp.zeros_like(series()[2])
    first = model.forecast(*series()[:2], nothing, queries + 5.0)[0]
    np.testing.assert_allclose(first, model.readout(model.cell.read(model.cell.start())))


def test_a_forecast_of_classes_is_refused():
    model = ts.predictor("gru", 1, 2, likelihood=ts.Categorical(3), key=jr.key(0))
    times, values, mask = jnp.arange(2.0), jnp.zeros((2, 1)), jnp.ones((2, 1), bool)
    with pytest.raises(ValueError, match="of classes probabilities"):
        model.forecast(times, values, mask, jnp.array([2.0]))


def test_one_step_log_probabilities_are_scipys():
    from scipy.stats import norm

    times, values, mask = series()
    model = ts.predictor("decay", VARIABLES, SIZE, likelihood=ts.Normal(0.7), key=jr.key(8))
    mean = np.asarray(model.one_step(times, values, mask))
    expected = np.where(mask, norm(mean, 0.7).logpdf(np.asarray(values)), 0.0)  # pyrefly: ignore
    np.testing.assert_allclose(model.log_prob(times, values, mask), expected, rtol=1e-10)
    batch = ts.Observations(times[None], values[None], mask[None])
    loss, metrics = ts.one_step_loss(model, batch, key=jr.key(0))
    assert loss == pytest.approx(-expected.sum() / np.asarray(mask).sum())
    errors = (mean - np.asarray(values))[np.asarray(mask)]
    assert metrics["mse"] == pytest.approx(np.square(errors).mean())


def test_float32_stays_float32(x32):
    times, values, mask = series()
    times, values = times.astype(jnp.float32), values.astype(jnp.float32)
    for kind in KINDS:
        cell = ts.recurrent_cell(kind, VARIABLES, SIZE, key=jr.key(0))
        assert features(cell, times, values, mask)[1].dtype == jnp.float32


class Newest(ts.AbstractCell):
    """The last value that it saw, and the time for which it has flown since."""

    features: int = 2

    def start(self):
        return jnp.zeros(2)

    def evolve(self, state, t0, t1):
        return state + jnp.array([0.0, 1.0]) * (t1 - t0)

    def jump(self, state, x, mask):
        return jnp.where(mask, jnp.append(x, 0.0), state)

    def read(self, state):
        return state


@pytest.mark.parametrize(("anchor", "expected"), [("first", [5.0, -0.5]), ("last", [7.0, 1.0])])
def test_an_encoder_runs_towards_its_anchor(anchor, expected):
    readout = eqx.nn.MLP(2, 4, 1, 0, key=jr.key(0))
    linear = lambda net: (net.layers[0].weight, net.layers[0].bias)
    readout = eqx.tree_at(linear, readout, (jnp.eye(4, 2), jnp.zeros(4)))
    times, values = jnp.array([0.0, 0.5, 2.0, 3.0]), jnp.array([[9.0], [5.0], [7.0], [9.0]])
    mask = jnp.array([[False], [True], [True], [False]])
    mean, std = ts.Encoder(Newest(), readout)(times, values, mask, anchor=anchor)
    # From the observation nearest to the anchor, and on to the anchor itself.
    np.testing.assert_allclose(mean, expected, rtol=1e-12)
    np.testing.assert_allclose(std, np.log(2), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ts.recurrent_cell("lstm", 1, 4, key=jr.key(0)), "`kind` must be"),  # pyrefly: ignore
        (
            lambda: ts.ODETransition(lambda t, h, args: h, steps=0),
            "`steps` must be 1 or more, got 0",
        ),
        (
            lambda: ts.ODETransition(lambda t, h, args: h, solver=diffrax.Kvaerno5()),
            "explicit Runge-Kutta",
        ),
        (lambda: ts.GRUCell(0, 4, key=jr.key(0)), "`variables` must be 1 or more, got 0"),
        (lambda: ts.Normal(0.0), "`std` must be positive, or None, got 0"),
    ],
)
def test_wrong_arguments_are_named(call, message, monkeypatch):
    # As a user has it: the tests' type checks would be the first to refuse an unknown kind.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(Exception, match="mask"):
        ts.run_cell(CELLS["gru"], jnp.ones(3), jnp.ones((3, 2)), jnp.ones((2, 2), bool))
