"""Steps of two players, against games that are solved and steps that are written out."""

import functools
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.games import (
    AbstractGame,
    GANGame,
    GANState,
    GANStep,
    discriminator_loss,
    jensen_shannon,
    kl,
    non_saturating,
    reverse_kl,
)

SGD = optax.sgd(1.0)
ADAM = optax.adam(1e-2, b1=0.5, eps_root=1e-14)


class Zero(AbstractGame):
    """Of two numbers one loses what the other wins: a x^2 / 2 + b xy - c y^2 / 2."""

    a: float = 0.3
    b: float = 1.2
    c: float = 0.7

    def show(self, generator, batch, *, key):
        return generator

    def losses(self, discriminator, shown, *, key):
        x, y = shown, discriminator
        value = self.a * x**2 / 2 + self.b * x * y - self.c * y**2 / 2
        return -value, value, {}


def ahead(k):
    """d f_K / dx at x = 1.3, y = -0.4 with steps of 0.4, in closed form."""
    a, b, c, rate, x, y = 0.3, 1.2, 0.7, 0.4, 1.3, -0.4
    left = (1 - rate * c) ** k
    y = left * y + b / c * (1 - left) * x
    return a * x + b * y + (b * x - c * y) * b / c * (1 - left), a * x + b * y


@pytest.mark.parametrize("k", [0, 1, 2, 5, 50])
def test_the_quadratic_game_is_its_closed_form(k):
    whole, first = ahead(k)
    known = {0: -0.09, 1: 1.4291040, 2: 2.2166075136, 5: 2.9461922, 50: (0.3 + 1.44 / 0.7) * 1.3}
    np.testing.assert_allclose(whole, known[k], rtol=2e-7, atol=1e-15)
    for stop, want in ((False, whole), (True, first)) if k else ((False, whole),):
        step = GANStep(SGD, optax.sgd(0.4), Zero(), unroll=k, stop_gradient=stop)
        state = step.init(jnp.asarray(1.3), jnp.asarray(-0.4))
        for run in (step, eqx.filter_jit(step)):
            new, _ = run(state, None, key=jr.key(0))
            np.testing.assert_allclose(1.3 - new.generator, want, rtol=1e-12)
            # One step, whatever was looked ahead.
            np.testing.assert_allclose(new.discriminator, -0.4 + 0.4 * (1.2 * 1.3 + 0.7 * 0.4))
    if k == 1:
        assert abs(whole - first) > 0.63


@pytest.mark.parametrize("k", [0, 1, 5])
def test_the_bilinear_game_turns_in_or_out_as_its_matrix_does(k):
    """Of xy with steps of e both move by [[1 - 2 K e^2, -e], [e, 1]]."""
    e, n = 0.1, 400
    step = GANStep(optax.sgd(e), optax.sgd(e), Zero(0.0, 1.0, 0.0), unroll=k)
    state = step.init(jnp.asarray(1.0), jnp.asarray(0.5))
    once = lambda state, _: (step(state, None, key=jr.key(0))[0],) * 2
    _, path = jax.jit(lambda state: jax.lax.scan(once, state, None, length=n))(state)
    path = np.stack([path.generator, path.discriminator])
    matrix = np.array([[1 - 2 * k * e**2, -e], [e, 1]])
    np.testing.assert_allclose(path[:, -1], np.linalg.matrix_power(matrix, n) @ [1, 0.5], rtol=1e-8)
    radius = np.sqrt(1 - 2 * k * e**2 + e**2)
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(matrix)), radius, rtol=1e-12)
    # Three points on a linear recurrence of second order: its constant is the radius squared.
    first = path[0, -4:]
    lhs = np.array([[first[1], first[0]], [first[2], first[1]]])
    found = np.linalg.solve(lhs, first[2:])
    np.testing.assert_allclose(np.sqrt(-found[1]), radius, rtol=1e-6)


def players(key, latent=3):
    keys = jr.split(key)
    return (
        eqx.nn.MLP(latent, 2, 5, 1, jnp.tanh, key=keys[0]),
        eqx.nn.MLP(2, "scalar", 6, 1, jnp.tanh, key=keys[1]),
    )


@pytest.mark.parametrize(
    ("optimiser", "game", "checkpoint"),
    [
        (optax.sgd(0.5), GANGame(3), True),
        (optax.adam(0.05, b1=0.5, eps_root=1e-8), GANGame(3), False),
        (optax.sgd(0.5), GANGame(3, kl, clip=0.1, self_normalise=False), True),
        (optax.sgd(0.5), GANGame(3, non_saturating, "plug_in"), True),
    ],
)
def test_the_gradient_is_that_of_central_differences(optimiser, game, checkpoint, key):
    step = GANStep(SGD, optimiser, game, unroll=3, checkpoint=checkpoint)
    state = step.init(*players(key))
    x = jr.normal(jr.key(1), (7, 2))
    run = eqx.filter_jit(lambda state: step(state, x, key=jr.key(2)))
    state, _ = run(state)  # so that the optimiser's state is no fresh one
    new, metrics = run(state)
    leaves, structure = jax.tree.flatten(eqx.filter(state.generator, eqx.is_inexact_array))
    gradient = jax.tree.map(lambda a, b: a - b, leaves, jax.tree.leaves(
        eqx.filter(new.generator, eqx.is_inexact_array)))  # fmt: skip
    rest = eqx.filter(state.generator, eqx.is_inexact_array, inverse=True)
    way = [jr.normal(jr.key(n), leaf.shape) for n, leaf in enumerate(leaves)]

    def at(h):
        moved = jax.tree.unflatten(structure, [a + h * b for a, b in zip(leaves, way, strict=True)])
        here = eqx.tree_at(lambda s: s.generator, state, eqx.combine(moved, rest))
        return float(run(here)[1]["unrolled_loss"])

    along = sum(float(jnp.sum(a * b)) for a, b in zip(gradient, way, strict=True))
    h = 1e-4
    np.testing.assert_allclose(
        along, (8 * (at(h) - at(-h)) - at(2 * h) + at(-2 * h)) / (12 * h), rtol=1e-6
    )
    assert at(0.0) == metrics["unrolled_loss"]


@pytest.mark.parametrize("optimiser", [ADAM, optax.sgd(0.1, momentum=0.9)])
def test_the_first_step_ahead_is_the_one_that_the_discriminator_takes(optimiser, key):
    """From the live state of its optimiser, on the same batch, with the same noise."""
    game = GANGame(3)
    step = GANStep(SGD, optimiser, game, unroll=1)
    x = jr.normal(jr.key(1), (7, 2))
    state = step.init(*players(key))
    run = eqx.filter_jit(step)
    for n in range(3):
        state, _ = run(state, x, key=jr.key(n))
    new, metrics = run(state, x, key=jr.key(9))
    show_key, loss_key = jr.split(jr.key(9))
    shown = game.show(state.generator, x, key=show_key)
    want = game.losses(new.discriminator, shown, key=loss_key)[1]
    np.testing.assert_allclose(metrics["unrolled_loss"], want, rtol=1e-12)
    fresh = eqx.tree_at(lambda s: s.discriminator_state, state,
                        step.init(*players(key)).discriminator_state)  # fmt: skip
    assert abs(run(fresh, x, key=jr.key(9))[1]["unrolled_loss"] - want) > 1e-6


def by_hand(state, x, key):
    """The plain game as one writes it down, with the classic losses."""
    show_key, _ = jr.split(key)
    z = jax.vmap(lambda key: jr.normal(key, (3,)))(jr.split(jr.split(show_key)[0], len(x)))

    def own(discriminator):
        fake = jax.vmap(state.generator)(z)
        logits = jax.vmap(discriminator)(jnp.concatenate([x, fake]))
        real, fake = jnp.split(logits, 2)
        return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))

    def others(generator):
        fake = jax.vmap(generator)(z)
        logits = jax.vmap(state.discriminator)(jnp.concatenate([x, fake]))
        return jnp.mean(-jax.nn.softplus(jnp.split(logits, 2)[1]))

    found = []
    for of, player, memory in (
        (others, state.generator, state.generator_state),
        (own, state.discriminator, state.discriminator_state),
    ):
        gradient = eqx.filter_grad(of)(player)
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = ADAM.update(gradient, memory, eqx.filter(player, eqx.is_array))
        found.append((eqx.apply_updates(player, updates), memory))
    (generator, first), (discriminator, second) = found
    return GANState(generator, discriminator, first, second)


def test_without_looking_ahead_it_is_the_plain_game_to_the_bit_and_the_discriminator_always(key):
    x = jr.normal(jr.key(1), (7, 2))
    plain = GANStep(ADAM, ADAM, GANGame(3))
    state = want = plain.init(*players(key))
    for n in range(3):
        state, metrics = eqx.filter_jit(plain)(state, x, key=jr.key(n))
        want = eqx.filter_jit(by_hand)(want, x, jr.key(n))
        assert eqx.tree_equal(eqx.filter(state, eqx.is_array), eqx.filter(want, eqx.is_array))
    assert sorted(metrics) == ["accuracy", "discriminator_loss", "generator_loss"]
    # The value of the game, plus log 4.
    np.testing.assert_allclose(
        metrics["generator_loss"], np.log(4) - metrics["discriminator_loss"], rtol=1e-12
    )
    last, _ = eqx.filter_jit(plain)(state, x, key=jr.key(9))
    looking, _ = eqx.filter_jit(GANStep(ADAM, ADAM, GANGame(3), unroll=4))(state, x, key=jr.key(9))
    part = lambda s: jax.tree.leaves(eqx.filter((s.discriminator, s.discriminator_state),
                                                eqx.is_array))  # fmt: skip
    for a, b in zip(part(last), part(looking), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert not eqx.tree_equal(last.generator, looking.generator)


def test_several_steps_of_the_discriminator_come_before_that_of_the_generator(key):
    x = jr.normal(jr.key(1), (3, 7, 2))
    several = GANStep(ADAM, ADAM, GANGame(3), discriminator_steps=3)
    once = GANStep(optax.sgd(0.0), ADAM, GANGame(3))
    state = several.init(*players(key))
    keys = jr.split(jr.key(4), 3)
    still = once.init(*players(key))
    for n in range(2):
        still, _ = eqx.filter_jit(once)(still, x[n], key=keys[n])
    state, _ = eqx.filter_jit(several)(state, x, key=jr.key(4))
    plain = GANStep(ADAM, ADAM, GANGame(3))
    start = plain.init(*players(key))
    start = eqx.tree_at(lambda s: (s.discriminator, s.discriminator_state), start,
                        (still.discriminator, still.discriminator_state))  # fmt: skip
    want, _ = eqx.filter_jit(plain)(start, x[2], key=keys[2])
    for a, b in zip(*(jax.tree.leaves(eqx.filter(s, eqx.is_array)) for s in (state, want)),
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_the_generators_loss_is_the_bound_of_its_divergence(key):
    shown = jr.normal(key, (2, 5, 2))
    net = players(key)[1]
    real, fake = jax.vmap(jax.vmap(net))(shown)
    of = lambda game: game.losses(net, (shown[0], shown[1]), key=key)
    for divergence in (jensen_shannon, kl, reverse_kl):
        own, others, metrics = of(GANGame(3, divergence))
        np.testing.assert_allclose(own, discriminator_loss(real, fake), rtol=1e-12)
        np.testing.assert_allclose(others, -discriminator_loss(real, fake, divergence), rtol=1e-12)
    np.testing.assert_allclose(metrics["accuracy"], (np.mean(real > 0) + np.mean(fake < 0)) / 2)
    np.testing.assert_allclose(
        of(GANGame(3, non_saturating, "plug_in"))[1], np.mean(jax.nn.softplus(-fake)) - np.log(2)
    )
    # Shifted so that the mean ratio of samples is 1: KL's part of them is then -1.
    shifted = of(GANGame(3, kl, self_normalise=True))[1]
    shift = np.log(np.mean(np.exp(fake)))
    np.testing.assert_allclose(shifted, -1 + np.mean(real) - shift + 1, rtol=1e-10)


def test_a_generator_with_dropout_is_given_a_key_for_each_sample(key):
    net = eqx.nn.Sequential([eqx.nn.Linear(3, 2, key=key), eqx.nn.Dropout(0.5)])
    game = GANGame(lambda key: jr.uniform(key, (3,)))
    _, fake = game.show(net, jnp.zeros((40, 2)), key=key)
    assert 10 < int(jnp.sum(fake == 0)) < 70
    _, again = game.show(net, jnp.zeros((40, 2)), key=key)
    assert eqx.tree_equal(fake, again)


def smooth(real, fake):
    tell = lambda v: jnp.mean(jax.nn.softplus(-v))
    return 0.9 * tell(real) + 0.1 * tell(-real) + tell(-fake)


def hinge(real, fake):
    return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))


def bound(real, fake):
    return discriminator_loss(real, fake, kl)


def test_what_does_not_fit_is_refused(key):
    for loss in (smooth, hinge, lambda real, fake: jnp.mean(fake) - jnp.mean(real)):
        with pytest.raises(ValueError, match="`discriminator_loss` must have the log of the ratio"):
            GANGame(3, discriminator_loss=loss)
    for loss in (
        lambda real, fake: -discriminator_loss(real, fake),
        lambda real, fake: -bound(real, fake),
        lambda real, fake: 0.0 * jnp.mean(real),
    ):
        with pytest.raises(ValueError, match=r"must be least .* wrong sign, or is a constant"):
            GANGame(3, discriminator_loss=loss)
    for divergence in (kl, reverse_kl, jensen_shannon, non_saturating):
        GANGame(3, discriminator_loss=functools.partial(discriminator_loss, divergence=divergence))
    with pytest.warns(UserWarning, match="pushes samples away"):
        GANGame(3, kl, "plug_in")
    with pytest.raises(ValueError, match="`latent` must be 1 or more, got 0"):
        GANGame(0)
    with pytest.raises(ValueError, match="`unroll` must be a whole number, 0 or more; got -1"):
        GANStep(ADAM, ADAM, GANGame(3), unroll=-1)
    with pytest.raises(ValueError, match="`discriminator_steps` must be a whole number, 1 or more"):
        GANStep(ADAM, ADAM, GANGame(3), discriminator_steps=0)
    with pytest.raises(ValueError, match="`stop_gradient` is about steps that are looked ahead"):
        GANStep(ADAM, ADAM, GANGame(3), stop_gradient=True)
    generator, net = players(key)
    x = jnp.zeros((4, 2))
    step = GANStep(ADAM, ADAM, GANGame(3), unroll=1)
    for run in (step, eqx.filter_jit(step)):
        call = lambda generator=generator, net=net, x=x, run=run: run(
            step.init(generator, net), x, key=key
        )
        with pytest.raises(ValueError, match=r"must make samples like a row .* \(3,\).*got \(2,\)"):
            call(x=jnp.zeros((4, 3)))
        with pytest.raises(ValueError, match=r"`discriminator` must give one logit .* without a"):
            call(net=eqx.nn.Linear(2, 2, key=key))
        told = pytest.raises(ValueError, match=r"like a row of the data, of shape .* float32; got")
        with told, jax.numpy_dtype_promotion("standard"):
            call(x=x.astype(jnp.float32))
        with pytest.raises(ValueError, match="`batch` must be floating, got int"):
            call(x=x.astype(int))
    rough = GANStep(ADAM, optax.adam(1e-3), GANGame(3), unroll=1)
    with pytest.raises(ValueError, match="eps_root=1e-14"):
        rough(rough.init(generator, net), x, key=key)
    norm = eqx.nn.BatchNorm(2, axis_name="batch", mode="ema")
    for name, pair in (("generator", (norm, net)), ("discriminator", (generator, [net, norm]))):
        with pytest.raises(ValueError, match=rf"`{name}` keeps averages .*LayerNorm"):
            step.init(*pair)
    with pytest.raises(TypeError, match="`generator` has no weights"):
        step.init(jnp.tanh, net)


def test_what_is_no_part_of_a_step_is_refused_by_its_name(key):
    generator, net = players(key)
    for given, name in (((optax.adam, ADAM), "generator"), ((ADAM, "adam"), "discriminator")):
        with pytest.raises(TypeError, match=f"`{name}_optimiser` must be an Optax gradient"):
            GANStep(*given, GANGame(3))
    for optimisers, name in (((optax.lbfgs(), ADAM), "generator"),
                             ((ADAM, optax.lbfgs()), "discriminator")):  # fmt: skip
        with pytest.raises(TypeError, match=f"`{name}_optimiser` searches along a line"):
            GANStep(*optimisers, GANGame(3)).init(generator, net)
    for game in (16, kl):
        with pytest.raises(TypeError, match="game"):
            GANStep(ADAM, ADAM, game)
    twice = GANStep(ADAM, ADAM, GANGame(3), discriminator_steps=2)
    with pytest.raises(ValueError, match=r"an axis of 2 before .* batches=2.*shape \(5, 2\)"):
        twice(twice.init(generator, net), jnp.zeros((5, 2)), key=key)
    step = GANStep(ADAM, ADAM, GANGame(4), unroll=1)
    for run in (step, eqx.filter_jit(step)):
        with pytest.raises(TypeError) as error:
            run(step.init(generator, net), jnp.zeros((5, 2)), key=key)
        assert "`generator` was given a draw of `latent`, of shape (4,)." in error.value.__notes__
    step = GANStep(ADAM, ADAM, GANGame(3), unroll=1)
    with pytest.raises(TypeError) as error:
        step(step.init(generator, eqx.nn.MLP(5, "scalar", 4, 1, key=key)), jnp.zeros((5, 2)),
             key=key)  # fmt: skip
    assert "`discriminator` was given a row of the data, of shape (2,)." in error.value.__notes__


def test_numpys_float64_is_what_jax_makes_of_it(key, x32):
    game, net = GANGame(3), eqx.nn.Linear(3, 2, key=key)
    show = inspect.unwrap(GANGame.show)
    shown, fake = show(game, net, np.ones((4, 2)), key=key)
    assert shown.dtype == fake.dtype == jnp.float32
