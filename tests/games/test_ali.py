"""The model of adversarially learned inference: what each loss moves, shapes, paths, classes."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.games import (
    ALI,
    AbstractConditional,
    Deterministic,
    GaussianConditional,
    JointDiscriminator,
    NoiseConditional,
    joint_losses,
)

ROWS = jr.normal(jr.key(9), (7, 3))


def net(inside, out, seed=0):
    return eqx.nn.MLP(inside, out, 6, 1, jnp.tanh, key=jr.key(seed))


def pairs(head):
    return JointDiscriminator(eqx.nn.Identity(), eqx.nn.Identity(), head)


def small(logits="scalar", encoder=None, decoder=None, discriminator=None):
    return ALI(
        encoder or GaussianConditional(net(3, 4, 1)),
        decoder or NoiseConditional(net(2 + 1, 3, 2), noise_dim=1),
        discriminator or pairs(net(5, logits, 3)),
        prior_dim=2,
    )


def size(tree):
    return sum(float(jnp.sum(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("logits", ["scalar", 4])
def test_each_loss_moves_its_own_player_alone(logits):
    model = small(logits)
    labels = None if logits == "scalar" else jnp.asarray([0, 1, 2, -1, -1, 2, 0])
    of = lambda which: lambda model: model.losses(ROWS, labels, key=jr.key(0))[which]
    discriminator, generator = (eqx.filter_jit(eqx.filter_grad(of(i)))(model) for i in (0, 1))
    assert size((discriminator.encoder, discriminator.decoder)) == 0
    assert size(generator.discriminator) == 0
    for which, gradient, part in (
        (0, discriminator, lambda m: m.discriminator.head.layers[0].weight),
        (1, generator, lambda m: m.encoder.net.layers[0].weight),
        (1, generator, lambda m: m.decoder.net.layers[1].bias),
    ):
        way = jr.normal(jr.key(4), part(model).shape)
        moved = lambda by, part=part, way=way: eqx.tree_at(part, model, part(model) + by * way)
        difference = (of(which)(moved(1e-6)) - of(which)(moved(-1e-6))) / 2e-6
        slope = jnp.sum(part(gradient) * way)
        np.testing.assert_allclose(slope, difference, rtol=1e-6)
        assert abs(slope) > 1e-4


def test_both_losses_are_of_the_same_draws():
    class Told(eqx.Module):
        def __call__(self, x, z, *, key=None):
            return 3 * z[0] * x[0]

    class Blank(AbstractConditional):
        def sample(self, x, *, key):
            return jnp.zeros(3)

    one = ALI(NoiseConditional(net(3 + 1, 1, 1), noise_dim=1), Blank(), Told(), prior_dim=1)
    discriminator, generator, metrics = one.losses(jnp.ones((7, 3)), key=jr.key(0))
    # softplus(t) - softplus(-t) = t, which is 0 of the decoder's pairs.
    difference = abs(generator - discriminator)
    np.testing.assert_allclose(difference, 3 * metrics["z_mean"], rtol=1e-12)
    assert difference > 1e-3


def test_to_exchange_the_pairs_is_to_exchange_the_losses():
    one, other = jr.normal(jr.key(0), (5,)), jr.normal(jr.key(1), (8,))
    assert joint_losses(one, other)[::-1] == joint_losses(other, one)
    np.testing.assert_allclose(joint_losses(-one, -other)[::-1], joint_losses(one, other))


@pytest.mark.parametrize("labels", [[1, -1, 0, -1, 2], [-1] * 5])
def test_classes_by_hand(labels):
    encoder, decoder = (
        np.asarray(jr.normal(jr.key(0), (5, 4))),
        np.asarray(jr.normal(jr.key(1), (3, 4))),
    )
    probs = lambda row: np.exp(row) / np.exp(row).sum()
    any_of = lambda row: -np.log(probs(row)[:3].sum())
    none_of = lambda row: -np.log(probs(row)[3])
    told = [-np.log(probs(row[:3])[y]) for row, y in zip(encoder, labels, strict=True) if y >= 0]
    discriminator = np.mean([any_of(row) for row in encoder]) + np.mean(
        [none_of(row) for row in decoder]
    )
    discriminator += np.mean(told) if told else 0
    generator = np.mean([none_of(row) for row in encoder]) + np.mean(
        [any_of(row) for row in decoder]
    )
    losses = joint_losses(jnp.asarray(encoder), jnp.asarray(decoder), jnp.asarray(labels))
    np.testing.assert_allclose(losses, [discriminator, generator], rtol=1e-12)
    plain = joint_losses(jnp.asarray(encoder), jnp.asarray(decoder))
    assert plain[1] == losses[1]
    one = joint_losses(jnp.asarray([[0.3, 0.1]]), jnp.asarray([[0.5, -0.2]]))
    np.testing.assert_allclose(one, joint_losses(jnp.asarray([0.2]), jnp.asarray([0.7])))


def test_a_label_beyond_the_classes_is_no_number():
    logits = jnp.zeros((2, 4))
    assert jnp.isnan(joint_losses(logits, logits, jnp.asarray([0, 3]))[0])


def test_the_weight_of_a_cycle():
    encoder, decoder = Deterministic(net(3, 2, 1)), Deterministic(net(2, 3, 2))
    model = small(encoder=encoder, decoder=decoder)
    at = lambda w: eqx.filter_jit(ALI.losses)(model, ROWS, cycle_weight=w, key=jr.key(0))
    plain, weighed = at(0.0), at(0.3)
    error = np.mean((jax.vmap(lambda x: decoder.net(encoder.net(x)))(ROWS) - ROWS) ** 2)
    np.testing.assert_allclose(weighed[1] - plain[1], 0.3 * error, rtol=1e-9)
    np.testing.assert_allclose(weighed[2]["cycle"], error)
    assert weighed[0] == plain[0]
    assert "cycle" not in plain[2]


def test_metrics_are_shares_and_moments():
    class Told(eqx.Module):
        def __call__(self, x, z, *, key=None):
            return x[0]

    class Made(AbstractConditional):
        def sample(self, x, *, key):
            return jnp.stack([x[0], x[0], x[0]])

    model = small(decoder=Made(), discriminator=Told())
    metrics = model.losses(ROWS, key=jr.key(0))[2]
    assert metrics["encoder_accuracy"] == np.mean(np.asarray(ROWS)[:, 0] > 0)
    z = jax.vmap(lambda x: model.encoder.mean(x))(ROWS)
    assert metrics["z_std"] > 0
    assert z.shape == (7, 2)


def test_draws_of_a_batch(key):
    model = small()
    assert model.sample(5, key=key).shape == (5, 3)
    z = model.infer(ROWS, key=key)
    assert z.shape == (7, 2)
    twice = model.infer(jnp.concatenate([ROWS[:1], ROWS[:1]]), key=key)
    assert not np.array_equal(twice[0], twice[1])
    assert model.reconstruct(ROWS, key=key).shape == ROWS.shape
    np.testing.assert_allclose(
        eqx.filter_jit(ALI.sample)(model, 5, key=key), model.sample(5, key=key), rtol=1e-12
    )


def paths(x):
    """A model whose latents are its examples, and paths between them."""
    same = Deterministic(eqx.nn.Identity())
    model = ALI(same, same, pairs(net(2 * x, "scalar")), prior_dim=x)
    return lambda a, b, **given: model.interpolate(
        jnp.asarray([a]), jnp.asarray([b]), 5, key=jr.key(0), **given
    )[0]


def test_paths_go_along_an_arc_or_a_line():
    path = paths(2)([2.0, 0.0], [0.0, 2.0])
    turn = np.linspace(0, np.pi / 2, 5)
    np.testing.assert_allclose(path, 2 * np.stack([np.cos(turn), np.sin(turn)], axis=1), atol=1e-12)
    path = paths(2)([2.0, 0.0], [0.0, 2.0], straight=True)
    np.testing.assert_allclose(path[:, 0], np.linspace(2, 0, 5))
    # Lengths that differ change smoothly, and the ends are the ends.
    path = paths(2)([1.0, 0.0], [0.0, 3.0])
    np.testing.assert_allclose(np.asarray(path)[[0, -1]], [[1, 0], [0, 3]], atol=1e-12)
    assert np.all(np.diff(np.linalg.norm(path, axis=1)) > 0)


@pytest.mark.parametrize(
    ("a", "b"), [([1.0, 2.0], [-1.0, -2.0]), ([1.0, 1.0], [1.0, 1.0]), ([0.0, 0.0], [1.0, 2.0])]
)
def test_a_line_where_no_arc_is_told(a, b):
    line = np.linspace(a, b, 5)
    np.testing.assert_allclose(paths(2)(a, b), line, atol=1e-12)
    path = paths(1)([-2.0], [1.0])
    np.testing.assert_allclose(path[:, 0], np.linspace(-2, 1, 5))
    slope = jax.grad(lambda a: jnp.sum(paths(2)([a, 0.0], [2.0, 0.0]) ** 2))(1.0)
    assert np.isfinite(slope)


def test_a_path_has_one_noise(key):
    noise = NoiseConditional(eqx.nn.Lambda(lambda v: v[-1:] + 0 * v[:1]), noise_dim=1)
    model = ALI(Deterministic(eqx.nn.Identity()), noise, pairs(net(2, "scalar")), prior_dim=1)
    path = model.interpolate(jnp.ones((2, 1)), -jnp.ones((2, 1)), 4, key=key)
    assert path.shape == (2, 4, 1)
    assert np.ptp(path, axis=1).max() == 0
    assert np.ptp(path) > 0


def test_classes_of_rows(key):
    model = small(4)
    found = model.class_log_prob(ROWS, key=key)
    assert found.shape == (7, 3)
    np.testing.assert_allclose(jnp.exp(found).sum(axis=1), 1)
    z = model.infer(ROWS, key=key)
    logits = np.asarray(jax.vmap(model.discriminator)(ROWS, z))[:, :3]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(jnp.exp(found), expected)


def test_dropout_trains_and_is_still_in_use(key):
    head = eqx.nn.Sequential([eqx.nn.Dropout(0.5), net(5, "scalar")])
    encoder = Deterministic(eqx.nn.Sequential([net(3, 2), eqx.nn.Dropout(0.5)]))
    model = small(encoder=encoder, discriminator=pairs(head))
    losses = [model.losses(ROWS, key=jr.fold_in(key, i))[0] for i in range(2)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(model.infer(ROWS, key=key), jax.vmap(encoder.net.layers[0])(ROWS))


def test_float32_stays(x32):
    model = small()
    losses = model.losses(jnp.ones((2, 3), jnp.float32), key=jr.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(losses)} == {jnp.dtype("float32")}
    assert model.sample(2, key=jr.key(0)).dtype == jnp.float32
    assert model.infer(np.ones((2, 3)), key=jr.key(0)).dtype == jnp.float32


def run(model, x=ROWS, labels=None, **given):
    return model.losses(x, labels, **{"key": jr.key(0), **given})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(small(encoder=Deterministic(net(3, 4)))),
         r"`encoder` must give a latent of shape \(2,\).* gave \(4,\)"),
        (lambda: run(small(decoder=Deterministic(net(2, 4)))),
         r"`decoder` must give an example of shape \(3,\).* gave \(4,\)"),
        (lambda: run(small(1)), r'out_size="scalar".* it gave \(1,\)'),
        (lambda: run(small(), labels=jnp.zeros(7, int)), "knows no classes: K classes need K"),
        (lambda: small().class_log_prob(ROWS, key=jr.key(0)), "knows no classes"),
        (lambda: run(small(4), labels=jnp.zeros(6, int)), r"one for each of 7 .* shape \(6,\)"),
        (lambda: run(small(), x=np.ones((7, 3), int)), "floating, got int64: .*noise of one unit"),
        (lambda: run(small(), x=ROWS[:0]), r"one example or more, got shape \(0, 3\)"),
        (lambda: small().sample(0, key=jr.key(0)), "`n` must be 1 or more, got 0"),
        (lambda: small().interpolate(ROWS, ROWS, 1, key=jr.key(0)), "`steps` must be 2 or more"),
        (lambda: small().interpolate(ROWS, ROWS[:2], 3, key=jr.key(0)), "as many rows"),
        (lambda: ALI(Deterministic(net(1, 1)), Deterministic(net(1, 1)), pairs(net(2, 1)), 0),
         "`prior_dim` must be 1"),
        (lambda: small(encoder=GaussianConditional(net(3, 3))).infer(ROWS, key=jr.key(0)),
         r"\[2 \* dim\]; got the shape \(3,\)"),
        (lambda: NoiseConditional(net(1, 1), noise_dim=0), "`noise_dim` must be 1"),
        (lambda: inspect.unwrap(ALI.interpolate)(small(), ROWS, ROWS, 2.5, key=jr.key(0)),
         "2 or more.*got 2.5"),
        (lambda: small(encoder=net(3, 2)), r"`encoder` must be an `Abstract.*got MLP|type"),
        (lambda: run(small(), cycle_weight=jnp.asarray(-1.0)), "`cycle_weight` must be 0 or more"),
        (lambda: inspect.unwrap(NoiseConditional.sample)(
            NoiseConditional(net(4, 1), 1), jnp.arange(3), key=jr.key(0)),
         "`x` must be floating, got int"),
        (lambda: GaussianConditional(net(3, 4)).log_prob(jnp.ones(3), ROWS[0]), r"shape \(2,\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize(
    ("encoder", "decoder", "labels", "message"),
    [
        ((3, 3), (4,), None, r"of one discriminator.*got \(3, 3\) and \(4,\)"),
        ((3, 3), (3, 5), None, r"of one discriminator.*got \(3, 3\) and \(3, 5\)"),
        ((0,), (3,), None, "`encoder_logits` must have at least one logit"),
        ((3,), (0,), None, "`decoder_logits` must have at least one logit"),
        ((3, 3), (3, 3), ["a", "b", "a"], "`labels` must be whole numbers.*got <U1"),
        ((3, 3), (3, 3), [0.0, 1.0, 1.0], "`labels` must be whole numbers.*got float64"),
    ],
)
def test_logits_of_two_forms_are_refused(encoder, decoder, labels, message):
    with pytest.raises((ValueError, TypeError), match=message):
        inspect.unwrap(joint_losses)(jnp.zeros(encoder), jnp.zeros(decoder), labels)
    # Lists are as good as arrays.
    found = inspect.unwrap(joint_losses)([[0.3, 0.1]], [[0.5, -0.2]], [0])
    np.testing.assert_allclose(found, joint_losses(jnp.asarray([0.2]), jnp.asarray([0.7])))


@pytest.mark.parametrize("part", ["encoder", "decoder", "discriminator"])
def test_layers_with_a_state_are_refused(part):
    norm = eqx.nn.Sequential([eqx.nn.BatchNorm(2, axis_name="batch", mode="batch")])
    put = pairs(norm) if part == "discriminator" else Deterministic(norm)
    with pytest.raises(ValueError, match=rf"`{part}` keeps averages .* \(BatchNorm\)"):
        small(**{part: put})


def test_a_normal_conditional_by_scipy(key):
    from scipy import stats

    conditional = GaussianConditional(eqx.nn.Linear(3, 4, key=jr.key(0)))
    x, z = ROWS[0], jnp.asarray([0.3, -0.2])
    out = np.asarray(conditional.net(x))
    np.testing.assert_allclose(conditional.mean(x), out[:2])
    expected = stats.norm.logpdf(np.asarray(z), out[:2], np.exp(out[2:])).sum()
    np.testing.assert_allclose(conditional.log_prob(z, x), expected, rtol=1e-12)
    draws = jax.vmap(lambda key: conditional.sample(x, key=key))(jr.split(key, 10_000))
    np.testing.assert_allclose(draws.mean(0), out[:2], atol=4 * np.exp(out[2:]).max() / 100)
    np.testing.assert_allclose(draws.std(0), np.exp(out[2:]), rtol=4 / np.sqrt(2e4))


@pytest.mark.parametrize(("given", "scale"), [(-50.0, np.exp(-7)), (50.0, np.exp(2))])
def test_deviations_are_clipped(given, scale):
    conditional = GaussianConditional(eqx.nn.Lambda(lambda x: jnp.stack([x[0], given + 0 * x[0]])))
    at = conditional.log_prob(jnp.ones(1), jnp.ones(1))
    np.testing.assert_allclose(at, -np.log(scale * np.sqrt(2 * np.pi)))
