"""Lengths of paths and transitions along them, against geometry, NumPy and the mean-field limit."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback._in_batches import check_batch_size
from pullback._traced import _run
from pullback.analysis.signals import circle, line, through, trajectory_lengths, transitions
from pullback.nn import gaussian_init, hidden_states

RNG = np.random.default_rng(0)
TURN = circle(jnp.array([3.0, 0.0, 0.0]), jnp.array([0.0, 0.0, 3.0]))


def random_circle(dim, key):
    return circle(*jr.normal(key, (2, dim)))


def net(activation, scale, width, depth, key, dim=None, **settings):
    made = eqx.nn.MLP(dim or width, 1, width, depth, activation, key=key, **settings)
    return gaussian_init(made, weight_scale=scale, bias_scale=0.3, key=key)


def by_numpy(model, activation, path, num):
    """Pre-activations and activations of the hidden layers at every point."""
    x = np.stack([np.asarray(path(t)) for t in np.linspace(0, 1, num)])
    pre, post = [], []
    for layer in model.layers[:-1]:
        pre.append(x @ np.asarray(layer.weight).T + np.asarray(layer.bias))
        x = activation(pre[-1])
        post.append(x)
    return pre, post


def chords(x):
    return np.sqrt((np.diff(x, axis=0) ** 2).sum(axis=1)).sum()


@pytest.mark.parametrize("batch_size", [None, 1, 7, 100])
def test_chords_of_a_circle(batch_size):
    found = trajectory_lengths(lambda x: (x, -2 * x), TURN, num=31, batch_size=batch_size)
    exact = 2 * 3 * 30 * np.sin(np.pi / 30)
    np.testing.assert_allclose(found, [exact, 2 * exact], rtol=1e-13)


def test_the_speed_of_a_circle_is_exact_and_paths_are_where_they_should_be():
    found = trajectory_lengths(lambda x: (x,), TURN, num=3, method="jvp", batch_size=1)
    np.testing.assert_allclose(found, 6 * np.pi, rtol=1e-13)
    np.testing.assert_allclose(TURN(0.25), [0, 0, 3], atol=1e-15)
    np.testing.assert_allclose(TURN(0.5), [-3, 0, 0], atol=1e-15)
    straight = line(jnp.array([1.0, 2.0]), jnp.array([4.0, 6.0]))
    np.testing.assert_allclose(straight(0.1), [1.3, 2.4], rtol=1e-15)
    for method in ("chord", "jvp"):
        found = trajectory_lengths(lambda x: (x,), straight, num=2, method=method)
        np.testing.assert_allclose(found, 5, rtol=1e-15)


def test_a_path_through_points_meets_them_and_may_stand_still():
    points = RNG.normal(size=(5, 2, 3))
    points[2] = points[1]
    path = through(points)
    for i, point in enumerate(points):
        np.testing.assert_allclose(path(i / 4), point, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(path(0.9), 0.4 * points[3] + 0.6 * points[4], rtol=1e-12)
    at_the_end = jax.jacfwd(path)(1.0)
    np.testing.assert_allclose(at_the_end, 4 * (points[4] - points[3]), rtol=1e-12)
    exact = chords(points.reshape(5, 6))
    for method in ("chord", "jvp"):
        found = trajectory_lengths(lambda x: (x,), path, num=13, method=method)
        np.testing.assert_allclose(found, exact, rtol=1e-13)
    # A slope where it stands still is none, and no NaN.
    of = lambda points: trajectory_lengths(lambda x: (x,), through(points), num=5)[0]
    assert bool(jnp.all(jnp.isfinite(jax.grad(of)(jnp.asarray(points)))))


def test_orthogonal_linear_layers_keep_the_length(key):
    turns = jr.orthogonal(key, 6, shape=(4,))

    def layers(x):
        found = [x]
        for turn in turns:
            found.append(turn @ found[-1])
        return found

    for method in ("chord", "jvp"):
        found = trajectory_lengths(layers, random_circle(6, key), num=50, method=method)
        np.testing.assert_allclose(found, found[0], rtol=1e-13)


def test_a_network_by_numpy(key):
    model, path = net(jnp.tanh, 2.0, 12, 3, key, dim=4), random_circle(4, key)
    _, post = by_numpy(model, np.tanh, path, 40)
    want = [chords(x) for x in post]
    np.testing.assert_allclose(trajectory_lengths(model, path, num=40), want, rtol=1e-12)
    compiled = eqx.filter_jit(lambda model, path: trajectory_lengths(model, path, num=40))
    np.testing.assert_allclose(compiled(model, path), want, rtol=1e-12)
    # The function of its layers is the same.
    layers = lambda x: hidden_states(model, x).post[:-1]
    np.testing.assert_allclose(trajectory_lengths(layers, path, num=40), want, rtol=1e-12)
    # Chords come to the integral of the speed, from below.
    chord = trajectory_lengths(model, path, num=4001)
    speed = trajectory_lengths(model, path, num=4001, method="jvp")
    np.testing.assert_allclose(chord, speed, rtol=1e-5)
    assert bool(jnp.all(chord < speed))


def test_the_speed_by_numpy(key):
    model, path = net(jnp.tanh, 2.0, 7, 2, key, dim=3), random_circle(3, key)
    num, total = 9, np.zeros(2)
    for t in (np.arange(num - 1) + 0.5) / (num - 1):
        x0, x1 = np.asarray(path.x0), np.asarray(path.x1)
        angle = 2 * np.pi * t
        x = np.cos(angle) * x0 + np.sin(angle) * x1
        v = 2 * np.pi * (np.cos(angle) * x1 - np.sin(angle) * x0)
        for depth, layer in enumerate(model.layers[:-1]):
            w, b = np.asarray(layer.weight), np.asarray(layer.bias)
            x, v = np.tanh(w @ x + b), (1 - np.tanh(w @ x + b) ** 2) * (w @ v)
            total[depth] += np.linalg.norm(v) / (num - 1)
    found = trajectory_lengths(model, path, num=num, method="jvp", batch_size=3)
    np.testing.assert_allclose(found, total, rtol=1e-12)


def hard_tanh_chi(scale, depth):
    """Of each hidden layer after the first, at no bias, from inputs of mean square one."""
    z = np.linspace(-10, 10, 200_001)
    weight = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    q, found = scale**2, []
    for _ in range(depth - 1):
        q = scale**2 * np.sum(weight * np.clip(np.sqrt(q) * z, -1, 1) ** 2)
        found.append(scale**2 * np.sum(weight * (np.abs(np.sqrt(q) * z) < 1)))
    return found


@pytest.mark.parametrize(
    ("activation", "scale", "chi"),
    [(jax.nn.relu, 1.5, [1.5**2 / 2] * 3), (jax.nn.hard_tanh, 2.0, hard_tanh_chi(2.0, 4))],
)
def test_growth_is_the_root_of_chi(activation, scale, chi):
    found = []
    for seed in range(4):
        key, path_key = jr.split(jr.key(seed))
        made = eqx.nn.MLP(400, 1, 400, 4, activation, use_bias=False, key=key)
        made = gaussian_init(made, weight_scale=scale, key=key)
        lengths = trajectory_lengths(made, random_circle(400, path_key), num=400)
        found.append(lengths[1:] / lengths[:-1])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / 2
    np.testing.assert_array_less(np.abs(mean / np.sqrt(chi) - 1), 4 * error + 0.01)
    np.testing.assert_array_less(np.abs(mean / np.sqrt(chi) - 1), 0.04)


def test_on_a_circle_each_unit_of_the_first_layer_changes_its_sign_twice(key):
    model = eqx.nn.MLP(5, 1, 40, 2, jax.nn.hard_tanh, use_bias=False, key=key)
    for settings in ({"num": 2000}, {"num": 2001, "batch_size": None}):
        assert int(transitions(model, random_circle(5, key), **settings)[0]) == 80


def test_on_a_line_a_unit_changes_as_often_as_it_has_thresholds(key):
    model = net(jax.nn.relu, 3.0, 50, 1, key, dim=2)
    far = line(jnp.array([-3000.0, -2000.0]), jnp.array([2500.0, 1700.0]))
    assert transitions(model, far).tolist() == [50]
    assert transitions(model, far, thresholds=(-1, 1)).tolist() == [100]


def test_transitions_by_numpy_before_and_after_the_units_are_clipped(key):
    model, path = net(jax.nn.hard_tanh, 3.0, 20, 3, key, dim=4), random_circle(4, key)
    pre, _ = by_numpy(model, lambda h: np.clip(h, -1, 1), path, 60)
    changes = lambda codes: int(np.abs(np.diff(codes.astype(int), axis=0)).sum())
    signs = [changes(h > 0) for h in pre]
    parts = [changes((h > -1).astype(int) + (h >= 1)) for h in pre]
    assert min(signs) > 10
    assert min(parts) > min(signs)
    for layers in (
        model,
        lambda x: hidden_states(model, x).pre[:-1],
        lambda x: hidden_states(model, x).post[:-1],
    ):
        for thresholds, want in (((0.0,), signs), ((-1, 1), parts)):
            run = lambda path, batch_size, layers=layers, thresholds=thresholds: transitions(
                layers, path, num=60, thresholds=thresholds, batch_size=batch_size
            )
            assert run(path, 512).tolist() == want
            assert run(path, 7).tolist() == want
    assert eqx.filter_jit(run)(path, 7).tolist() == want


def test_a_relu_that_is_off_is_at_zero():
    layers = lambda x: (jax.nn.relu(x),)
    path = line(jnp.array([-1.0, 1.0]), jnp.array([1.0, 2.0]))
    assert transitions(layers, path, num=100).tolist() == [1]


def test_memory_is_bounded_by_the_batch(key):
    model, path = net(jnp.tanh, 1.5, 64, 6, key), random_circle(64, key)

    def memory(of, batch_size):
        run = jax.jit(lambda path: of(model, path, num=2049, batch_size=batch_size))
        return run.lower(path).compile().memory_analysis().temp_size_in_bytes

    for of in (trajectory_lengths, transitions):
        assert memory(of, 64) < memory(of, None) / 8


def test_a_second_call_compiles_nothing(key):
    first, path = net(jnp.tanh, 1.5, 8, 2, key), random_circle(8, key)
    trajectory_lengths(first, path, num=20)
    second, other = net(jnp.tanh, 1.1, 8, 2, jr.key(5)), random_circle(8, jr.key(6))
    counted = _run._cached
    size = counted._cache_size()
    trajectory_lengths(second, other, num=20)
    assert counted._cache_size() == size


def test_float32_and_images(x32, key):
    layers = lambda x: (x, jnp.sum(x, axis=0), 2 * x)
    path = line(jnp.zeros((2, 3, 3)), jnp.ones((2, 3, 3)))
    found = trajectory_lengths(layers, path, num=200)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, [18**0.5, 6.0, 2 * 18**0.5], rtol=1e-5)
    # At scales whose squares are no numbers.
    for scale in (1e-30, 1e30):
        tiny = trajectory_lengths(lambda x, scale=scale: (scale * x,), path, num=200)
        np.testing.assert_allclose(tiny, scale * 18**0.5, rtol=1e-5)
    half = lambda x: (x.astype(jnp.bfloat16),)
    assert trajectory_lengths(half, path, num=9).dtype == jnp.float32


def test_what_is_not_finite_is_said_and_compiled_it_is_seen():
    layers = lambda x: (x, jnp.sqrt(2 - x))
    infinite = lambda x: (x, jnp.where(x > 2, jnp.inf, x))
    for of in (trajectory_lengths, transitions):
        with pytest.raises(ValueError, match=r"layer 1 of `layers`"):
            of(infinite, TURN, num=50)
        with pytest.raises(ValueError, match=r"layer 1 of `layers` \(from 0\) has numbers that"):
            of(layers, TURN, num=50)
        jax.jit(lambda path, of=of: of(layers, path, num=50))(TURN)
    assert not jnp.isfinite(jax.jit(lambda p: trajectory_lengths(layers, p, num=50))(TURN)[1])
    assert jax.jit(lambda p: transitions(layers, p, num=50))(TURN).tolist() == [4, -1]


@pytest.mark.parametrize("of", [trajectory_lengths, transitions])
@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        ((3, TURN), {}, TypeError, "`layers` must be a model, or a function from one input"),
        ((lambda x: x, TURN), {}, TypeError, "`layers` must give the tuple of the layers"),
        ((lambda x: (x > 0,), TURN), {}, TypeError, "floating arrays, got"),
        ((lambda x: (), TURN), {}, ValueError, "`layers` gives no layer"),
        ((lambda x: (x,), jnp.ones(3)), {}, TypeError, "`path` must be a function of t"),
        ((lambda x: (x,), TURN), {"num": 1}, ValueError, "`num` must be 2 points or more, got 1"),
        ((lambda x: (x,), TURN), {"batch_size": 0}, ValueError, "`batch_size` must be 1 or more"),
    ],
)
def test_wrong_arguments(of, arguments, settings, error, message):
    with pytest.raises(error, match=message):
        inspect.unwrap(of)(*arguments, **settings)


def test_more_wrong_arguments():
    for batch_size in (2.5, "a"):
        with pytest.raises(TypeError, match="`batch_size` must be a whole number"):
            inspect.unwrap(check_batch_size)(batch_size)
    layers = lambda x: (x,)
    with pytest.raises(ValueError, match=r"`method` must be one of .*, got 'length'"):
        inspect.unwrap(trajectory_lengths)(layers, TURN, method="length")
    for thresholds in ((), (1.0, 0.0), (0.0, 0.0), (np.nan,), (0.0, np.inf)):
        with pytest.raises(ValueError, match="`thresholds` must be one or more finite numbers"):
            transitions(layers, TURN, thresholds=thresholds)
    with pytest.raises(ValueError, match="`x0` and `x1` must be two inputs of one shape"):
        line(jnp.ones(2), jnp.ones(3))
    with pytest.raises(ValueError, match="`x1` must be finite"):
        circle(jnp.ones(2), jnp.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="`x0` must be floating"):
        inspect.unwrap(line)(jnp.ones(2, int), jnp.ones(2, int))
    with pytest.raises(ValueError, match="`points` must be two or more inputs"):
        through(jnp.ones((1, 3)))


def test_paths_of_arrays_at_hand_are_made_while_a_call_is_compiled():
    c = jnp.ones(2)
    made = jax.jit(lambda t: (line(c, 2 * c)(t), circle(c, c)(t), through(jnp.eye(2))(t)))
    np.testing.assert_allclose(made(0.5), [[1.5, 1.5], [-1, -1], [0.5, 0.5]], atol=1e-12)


def test_chords_that_are_rounded_are_refused_and_never_wrong(x32):
    with jax.enable_x64(True):
        model = eqx.nn.MLP(50, 10, 20, 30, jnp.tanh, key=jr.key(0))
        path = circle(*jr.normal(jr.key(1), (2, 50)))
        want = np.asarray(trajectory_lengths(model, path, num=257, method="jvp"))
    model, path = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float32) if eqx.is_array(leaf) else leaf, (model, path)
    )
    assert want[-1] < 1e-7 * want[0]
    speeds = trajectory_lengths(model, path, num=257, method="jvp")
    np.testing.assert_allclose(speeds, want, rtol=1e-3)
    with pytest.raises(ValueError, match=r"chords of layer \d+ of `layers` .*`method=\"jvp\"`"):
        trajectory_lengths(model, path, num=257)
    found = np.asarray(jax.jit(lambda path: trajectory_lengths(model, path, num=257))(path))
    good = np.isfinite(found)
    # Those that are given are right, the first layers among them, and the last are not given.
    assert good[:4].all()
    assert not good[-8:].any()
    np.testing.assert_allclose(found[good], want[good], rtol=3e-3)
    with pytest.raises(ValueError, match="or of the path itself"):
        trajectory_lengths(lambda x: (x - 1e4,), line(jnp.full(2, 1e4), jnp.full(2, 1e4 + 2)))
    # Of what stays at zero a chord has no rounding.
    assert trajectory_lengths(lambda x: (0 * x,), path, num=9).tolist() == [0]


def test_a_value_on_a_threshold_above_zero_is_beyond_it():
    layers = lambda x: (jnp.clip(x, 0.5, 2),)
    path = line(jnp.full(1, -3.0), jnp.full(1, 9.0))
    assert transitions(layers, path, num=101, thresholds=(0.5, 2)).tolist() == [1]
    assert transitions(layers, path, num=101, thresholds=(0.6, 2)).tolist() == [2]
