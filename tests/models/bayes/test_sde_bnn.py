"""The network: against Euler's method by hand, an ODE network, two adjoints, and its own parts."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import pullback as pb
from pullback.models.bayes import (
    SDEBNN,
    BrownianPrior,
    ConvField,
    OUPrior,
    SDEBNNBlock,
    SDEBNNLoss,
    WeightProcess,
    conv_sde_bnn,
    laplace_log_likelihood,
    mlp_sde_bnn,
    sde_bnn_block,
)
from pullback.models.ode_net import ODEBlock, ODENet
from pullback.nn import ConcatMLP
from pullback.sampling import grad_stats


def network(key, prior, **settings):
    """A small classifier whose correction to the prior's drift is not zero."""
    net = mlp_sde_bnn(3, 4, prior=prior, dim=3, width=4, key=key, **settings)
    last = lambda n: n.blocks[0].process.correction.layers[-1].weight
    return eqx.tree_at(last, net, 0.5 * jr.normal(key, last(net).shape))


def batch_of(key, n=5):
    return jr.normal(key, (n, 3)), jnp.arange(n) % 4


def test_a_block_is_eulers_method_on_features_and_weights_with_one_noise(key):
    net = network(key, OUPrior(sigma=0.4, rate=2.0))
    [block] = net.blocks
    features = jr.normal(key, (6, 5, 3))
    out = block(features, kl="monte_carlo", key=key)
    process = block.process
    like = {"features": features, "weights": jnp.zeros((6, *process.start.shape))}
    times = np.linspace(0, 1, 21)
    noise = jnp.diff(pb.sde.brownian_path(key, like, times, steps=1)["weights"], axis=0)
    shapes = [(4, 3), (4,), (4,), (3, 4), (3,), (3,)]
    for p in range(6):
        h, w, kl = features[p], process.start, 0.0
        for t, db in zip(times[:-1], noise[:, p], strict=True):
            g = process.correction(t, w, None)
            kl += 0.5 * float(g @ g) / 0.16 / 20 + float(g @ db) / 0.4
            parts = jnp.split(w, np.cumsum([np.prod(s) for s in shapes])[:-1])
            a, at, ab, b, bt, bb = (x.reshape(s) for x, s in zip(parts, shapes, strict=True))
            hidden = jnp.tanh(h @ a.T + (at * t + ab)[None])
            h, w = h + (hidden @ b.T + (bt * t + bb)[None]) / 20, w + (g - 2 * w) / 20 + 0.4 * db
        np.testing.assert_allclose(out.features[p], h, rtol=1e-9)
        assert float(out.kl[p]) == pytest.approx(kl, rel=1e-9)


def test_without_noise_it_is_the_ode_network(key):
    net = mlp_sde_bnn(3, 4, prior=BrownianPrior(sigma=1e-9), dim=3, width=4, key=key)
    [block] = net.blocks
    field = ConcatMLP(3, 4, 1, zero_last=False, key=key)
    leaves = jax.tree.leaves(field)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = jnp.split(block.process.start, ends)
    field = jax.tree.unflatten(
        jax.tree.structure(field), [p.reshape(x.shape) for p, x in zip(parts, leaves, strict=True)]
    )
    x, _ = batch_of(key)
    for solver in (diffrax.Euler(), diffrax.Heun()):
        twin = ODENet(net.stem, ODEBlock(field, solver=solver, steps=20), net.head)
        found = net(x, kl=None, solver=solver, steps=20, key=key)
        np.testing.assert_allclose(found.values[0], twin(x)[0], atol=1e-6)


def test_the_stochastic_adjoint_and_replay_agree(key):
    def gradient(adjoint):
        net = network(key, OUPrior(sigma=0.3), steps=256, solver=diffrax.Heun(), adjoint=adjoint)
        loss = lambda net: SDEBNNLoss(50, kl="analytic")(net, batch_of(key), key=key)[0]
        return ravel_pytree(eqx.filter_jit(eqx.filter_grad(loss))(net))[0]

    exact, backwards = gradient(pb.ode.Replay()), gradient(pb.sde.StochasticAdjoint())
    assert jnp.linalg.norm(backwards - exact) < 1e-2 * jnp.linalg.norm(exact)
    assert jnp.linalg.norm(exact) > 0.1


def test_predictions_average_probabilities(key):
    # The paper's code averages their logarithms.
    net, (x, _) = network(key, OUPrior(sigma=2.0)), batch_of(key)
    values = net(x, paths=7, kl=None, key=key).values
    each = jnp.exp(values - jnp.max(values, axis=-1, keepdims=True))
    each = each / jnp.sum(each, axis=-1, keepdims=True)
    probs = net.predict(x, paths=7, key=key)
    np.testing.assert_allclose(probs, sum(each) / 7, rtol=1e-10)
    np.testing.assert_allclose(jnp.sum(probs, axis=1), 1, rtol=1e-12)
    geometric = jnp.exp(jnp.mean(jnp.log(each), axis=0))
    assert jnp.max(jnp.abs(geometric / jnp.sum(geometric, axis=1, keepdims=True) - probs)) > 1e-2


def test_inputs_of_a_prediction_see_the_same_weights_in_batches_of_any_size(key):
    net, (x, _) = network(key, OUPrior(sigma=1.0)), batch_of(key)
    whole = net.predict(x, paths=3, key=key)
    np.testing.assert_allclose(net.predict(x, paths=3, batch_size=2, key=key), whole)
    np.testing.assert_array_equal(net.predict(x, paths=3, batch_size=9, key=key), whole)
    with pytest.raises(ValueError, match="`batch_size` must be 1 or more, got 0"):
        net.predict(x, batch_size=0, key=key)


def test_precision_is_chosen_at_test_time(key):
    # With hardly any noise all ways of solving tend to one answer, Euler's with the step.
    net, (x, _) = network(key, OUPrior(sigma=1e-6)), batch_of(key)
    probs = lambda **precision: net.predict(x, paths=1, key=key, **precision)
    exact = probs(rtol=1e-7, atol=1e-7)
    error = [float(jnp.max(jnp.abs(probs(steps=n) - exact))) for n in (20, 80)]
    np.testing.assert_array_equal(probs(), probs(steps=20))
    assert error[0] / error[1] == pytest.approx(4, rel=0.2)
    assert jnp.max(jnp.abs(probs(solver=diffrax.Heun(), steps=80) - exact)) < error[1] / 20


@pytest.mark.slow
def test_a_weight_path_for_each_example_gives_the_same_bound_with_less_noise(key):
    net = network(key, OUPrior(sigma=1.0))
    x = jnp.ones((6, 3))
    shared = net(x, paths=2, kl=None, key=key).values
    np.testing.assert_allclose(shared, jnp.repeat(shared[:, :1], 6, axis=1), rtol=1e-12)
    own = net(x, paths=2, kl=None, per_example=True, key=key).values
    assert jnp.min(jnp.std(own, axis=1)) > 1e-3

    class Loss(eqx.Module):
        loss: SDEBNNLoss

        def __call__(self, net, *, key):
            return self.loss(net, (x, jnp.zeros(6, int)), key=key)[0]

    keys = jr.split(key, 300)
    one, each = (
        grad_stats(Loss(SDEBNNLoss(10, per_example=flag)), net, keys) for flag in (False, True)
    )
    a, b = ((m.mean.head.bias, m.std.head.bias) for m in (one, each))
    assert jnp.all(jnp.abs(a[0] - b[0]) < 4 * jnp.sqrt((a[1] ** 2 + b[1] ** 2) / 300))
    # Six independent paths where there was one.
    assert jnp.linalg.norm(b[1]) < 0.55 * jnp.linalg.norm(a[1])


def test_the_loss_weighs_the_kl_and_the_metric_is_the_true_bound(key):
    net, (x, y) = network(key, OUPrior(sigma=0.5)), batch_of(key)
    found = net(x, paths=3, kl="monte_carlo", key=key)
    picked = jnp.stack([jax.nn.log_softmax(v)[jnp.arange(5), y] for v in found.values])
    nll, kl = -float(jnp.mean(picked)), float(jnp.mean(found.kl))
    assert abs(kl) > 1e-3
    for kappa in (1.0, 1e-3):
        loss = SDEBNNLoss(200, kappa=kappa, paths=3, kl="monte_carlo")
        value, metrics = loss(net, (x, y), key=key)
        assert float(value) == pytest.approx(nll + kappa * kl / 200, rel=1e-10)
        assert float(metrics["elbo"]) == pytest.approx(-200 * nll - kl, rel=1e-10)
        assert (float(metrics["kl"]), int(metrics["result"])) == (pytest.approx(kl), 0)


def test_another_kappa_or_sigma_does_not_compile_again(key):
    traces = []

    @eqx.filter_jit
    def value(loss, net, batch):
        traces.append(1)
        return loss(net, batch, key=key)[0]

    for kappa, sigma in ((1.0, 0.3), (0.1, 0.5), (jnp.asarray(0.01), jnp.asarray(0.2))):
        value(SDEBNNLoss(10, kappa=kappa), network(key, OUPrior(sigma=sigma)), batch_of(key))
    assert len(traces) == 1


def test_training_moves_the_parameters_and_leaves_the_prior(key):
    net, data = network(key, OUPrior(sigma=0.3)), batch_of(key)
    trained, info = pb.train.fit(
        net, SDEBNNLoss(5), data, optimiser=optax.adam(1e-2), steps=3, batch_size=5, key=key
    )
    process, before = trained.blocks[0].process, net.blocks[0].process
    assert float(process.prior.sigma) == 0.3
    assert float(process.prior.rate) == 1.0
    assert jnp.all(process.start != before.start)
    assert set(info.lines()[0]) == {
        "step",
        "loss",
        "steps_per_second",
        "nll",
        "kl",
        "elbo",
        "result",
    }


def test_the_kl_of_two_blocks_is_the_sum(key):
    net = conv_sde_bnn(prior=BrownianPrior(sigma=0.5), channels=2, blocks=2, steps=3, key=key)
    constant = lambda c: lambda t, w, args: c * jnp.ones_like(w)
    corrections = lambda n: [b.process.correction for b in n.blocks]
    net = eqx.tree_at(corrections, net, [constant(0.1), constant(0.2)])
    size = 2 * (2 * 3 * 9 + 2)
    out = net(jnp.ones((2, 8, 8)), paths=2, kl="analytic", key=key)
    assert out.values.shape == (2, 2, 10)
    np.testing.assert_allclose(out.kl, 0.5 * size * (0.2**2 + 0.4**2), rtol=1e-10)


def test_the_kl_of_a_path_for_each_example_is_that_of_one_path(key):
    # The mean over examples, not the sum.
    net = mlp_sde_bnn(3, prior=BrownianPrior(sigma=0.5), dim=3, width=4, steps=3, key=key)
    correction = lambda n: n.blocks[0].process.correction
    net = eqx.tree_at(correction, net, lambda t, w, args: 0.1 * jnp.ones_like(w))
    out = net(jnp.ones((5, 3)), paths=2, kl="analytic", per_example=True, key=key)
    size = net.blocks[0].process.start.size
    np.testing.assert_allclose(out.kl, np.full(2, 0.5 * size * 0.2**2), rtol=1e-10)


def test_images_with_colours_are_taken_as_they_are(key):
    settings = {"prior": BrownianPrior(sigma=0.5), "channels": 2, "steps": 2, "key": key}
    images = jr.normal(key, (3, 1, 8, 8))
    grey = conv_sde_bnn(**settings)(images[:, 0], key=key).values
    np.testing.assert_array_equal(conv_sde_bnn(colours=1, **settings)(images, key=key).values, grey)
    assert conv_sde_bnn(colours=3, **settings).stem.layers[0].weight.shape == (2, 3, 4, 4)
    with pytest.raises(ValueError, match="`colours` must be 1 or more, got 0"):
        conv_sde_bnn(colours=0, **settings)


def test_the_convolutional_field_is_two_convolutions_that_see_the_time(key):
    field, y = ConvField(3, key=key), jr.normal(key, (3, 5, 4))
    clock = jnp.full((1, 5, 4), 0.7)
    hidden = jax.nn.softplus(field.convs[0](jnp.concatenate([y, clock])))
    want = field.convs[1](jnp.concatenate([hidden, clock]))
    np.testing.assert_allclose(field(0.7, y), want, atol=1e-12)


def test_float32_stays_float32(key):
    net = mlp_sde_bnn(3, prior=OUPrior(sigma=0.3), dtype=jnp.float32, key=key)
    x = jnp.ones((2, 3), jnp.float32)
    loss, metrics = SDEBNNLoss(10)(net, (x, jnp.zeros(2, int)), key=key)
    assert {loss.dtype, metrics["kl"].dtype, metrics["nll"].dtype} == {jnp.dtype("float32")}


def test_the_laplace_density_is_normalised():
    y = jnp.linspace(-3, 3, 6001)
    logs = jax.vmap(lambda y: laplace_log_likelihood(jnp.array([0.5]), y[None], scale=0.2))(y)
    assert float(jnp.sum(jnp.exp(logs)) * (y[1] - y[0])) == pytest.approx(1, abs=1e-3)


def test_networks_that_do_not_fit_are_refused(key):
    field = ConcatMLP(3, 4, 1, key=key)
    process = WeightProcess(jnp.zeros(5), OUPrior(sigma=1.0), lambda t, w, args: w)
    with pytest.raises(ValueError, match="`process` must have the field's 38 weights, got 5"):
        SDEBNNBlock(process, field)
    with pytest.raises(ValueError, match="`field` must hold floating arrays"):
        sde_bnn_block(lambda t, y, args: -y, OUPrior(sigma=1.0), key=key)
    with pytest.raises(ValueError, match="`steps` must be 1 or more, got 0"):
        sde_bnn_block(field, OUPrior(sigma=1.0), steps=0, key=key)
    net = mlp_sde_bnn(3, prior=OUPrior(sigma=1.0), key=key)
    assert isinstance(net, SDEBNN)
    with pytest.raises(ValueError, match="`paths` must be 1 or more, got 0"):
        net(jnp.ones((2, 3)), paths=0, key=key)
    with pytest.raises(ValueError, match="`paths` must be 1 or more, got 0"):
        SDEBNNLoss(10, paths=0)
