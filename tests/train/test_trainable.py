"""Training a part of a model."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback._archive import read_archive
from pullback.nn import LipschitzLinear
from pullback.train import CheckpointError, JointLoss, apply_gradient, fit

DATA = np.random.default_rng(0).normal(size=(8, 2))
ADAMW = optax.adamw(0.1, weight_decay=0.5)


def loss(model, batch, *, key):
    return jnp.mean((jax.vmap(model)(batch) - 1) ** 2), {}


def network(key=None):
    return eqx.nn.MLP(2, "scalar", 4, 1, key=jr.key(0) if key is None else key)


def none_but(where, model):
    return eqx.tree_at(where, jax.tree.map(lambda _: False, model), True)


def run(model, loss=loss, **more):
    options = {"optimiser": ADAMW, "steps": 6, "batch_size": 4, "log_every": 2, "key": jr.key(1)}
    return fit(model, loss, DATA, **(options | more))[0]


def same(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return [np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs if eqx.is_array(x)]


FILTERS = {
    "a tree": (none_but(lambda m: m.layers[-1], network()), [True, True, False, False]),
    "a front part": (
        eqx.tree_at(lambda m: m.layers, jax.tree.map(lambda _: False, network()), (False, True)),
        [True, True, False, False],
    ),
    "a function": (lambda leaf: leaf.ndim == 2, [False, True, False, True]),
    "all": (True, [False] * 4),
}


@pytest.mark.parametrize("name", FILTERS)
def test_what_is_not_trained_stays_to_the_bit(name):
    trainable, kept = FILTERS[name]
    assert same(network(), run(network(), trainable=trainable)) == kept
    both = eqx.filter_vmap(network)(jr.split(jr.key(2)))
    found, _ = fit(
        both, loss, DATA, optimiser=ADAMW, steps=2, batch_size=4, trainable=trainable,
        key=jr.split(jr.key(0)),
    )  # fmt: skip
    if name != "a function":  # whose leaves have an axis more here
        assert same(both, found) == kept


def test_it_is_the_gradient_step_of_the_part_and_its_state_alone():
    """Against the same steps taken by hand, of the head as a function of itself."""
    model = network()
    where = lambda m: m.layers[-1]
    found = run(model, trainable=none_but(where, model), batch_size=8, steps=3)
    head = where(model)
    state = ADAMW.init(head)
    assert len(jax.tree.leaves(state)) == 1 + 2 * 2
    of_head = lambda head: loss(eqx.tree_at(where, model, head), DATA, key=None)[0]
    for _ in range(3):
        gradient = jax.grad(of_head)(head)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = ADAMW.update(gradient, state, head)
        head = eqx.apply_updates(head, updates)
    np.testing.assert_allclose(where(found).weight, head.weight, rtol=1e-12)


def test_a_run_that_was_cut_goes_on_and_the_checkpoint_has_the_state_of_the_part(tmp_path):
    trainable = none_but(lambda m: m.layers[-1].bias, network())
    options = {"trainable": trainable, "folder": tmp_path}
    whole = run(network(), trainable=trainable)
    run(network(), steps=4, **options)
    assert all(same(run(network(), resume=True, **options), whole))
    state = ADAMW.init(jnp.zeros(()))
    kept = next(tmp_path.glob("checkpoint-*.safetensors"))
    assert len(read_archive(kept)[1]) == 4 + len(jax.tree.leaves(state))
    with pytest.raises(CheckpointError, match=r"weight is frozen .* and trained .*`trainable`"):
        run(network(), resume=True, folder=tmp_path)
    other = eqx.tree_at(lambda m: m.layers[0].bias, network(), replace_fn=lambda b: b + 1)
    with pytest.raises(CheckpointError, match=r"layers\[0\]\.bias is float64"):
        run(other, resume=True, **options)


@pytest.mark.parametrize(
    ("trainable", "message"),
    [
        (False, "leaves nothing of `model` to train: it is true for none of the 4"),
        (lambda leaf: leaf.ndim == 3, "leaves nothing of `model` to train"),
        ((True, False), "a filter as `equinox.partition` takes it"),
        ("head", "a filter as `equinox.partition` takes it"),
    ],
)
def test_filters_that_train_nothing_or_do_not_fit_are_refused(trainable, message):
    with pytest.raises(ValueError, match=message):
        run(network(), trainable=trainable)


class Two(eqx.Module):
    layers: list[LipschitzLinear]

    def __call__(self, x):
        return jnp.sum(self.layers[1](self.layers[0](x)))


def test_a_layer_that_knows_its_norm_is_kept_or_follows():
    model = Two([LipschitzLinear(2, 2, bound=0.5, key=key) for key in jr.split(jr.key(3))])
    trainable = none_but(lambda m: m.layers[1].weight, model)
    found = run(model, trainable=trainable)
    assert all(same(found.layers[0], model.layers[0]))
    trained = found.layers[1]
    assert not same(trained.weight, model.layers[1].weight)[0]
    exact = np.linalg.norm(trained(jnp.eye(2)[0]) - trained(jnp.zeros(2)))
    assert exact <= 0.5 + 1e-6


class Weighted(eqx.Module):
    baseline: jax.Array

    @property
    def learned_parts(self):
        return self.baseline

    def __call__(self, model, batch, *, key):
        return jnp.sum((self.baseline - 3) ** 2) + jnp.sum(model**2) + 0 * jnp.sum(batch), {}


def test_the_parts_of_a_loss_alone():
    joint = JointLoss(Weighted(jnp.zeros(())))
    model, learned = run((jnp.ones(()), joint.learned), joint, trainable=(False, True), steps=20)
    assert float(model) == 1
    assert float(learned[0]) > 0.5


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_parameters_whose_updates_would_be_lost_in_rounding_are_refused_with_the_remedy(dtype):
    """In bfloat16 800 steps of Adam from 0 to 3 end at 2.27."""
    short = lambda tree: jax.tree.map(
        lambda p: p.astype(dtype) if eqx.is_inexact_array(p) else p, tree
    )
    to_three = lambda model, batch, *, key: (jnp.mean((model["w"] - 3) ** 2), {})
    options = {"optimiser": optax.adam(1e-2), "steps": 800, "key": jr.key(0)}
    model, name = {"w": jnp.zeros(2, jnp.float32)}, jnp.dtype(dtype).name
    message = rf"the parameter \['w'\] is of {name}, .*float32 and cast them in the loss"
    with pytest.raises(TypeError, match=message):
        fit(short(model), to_three, **options)
    gradient, sgd = jax.tree.map(jnp.ones_like, short(model)), optax.sgd(0.1)
    with pytest.raises(TypeError, match=message):
        apply_gradient(sgd, gradient, sgd.init(short(model)), short(model))
    cast = lambda model, batch, *, key: to_three(short(model), batch, key=key)
    found, _ = fit(model, cast, **options)
    np.testing.assert_allclose(found["w"], 3.0, atol=0.02)  # a unit of bfloat16 there is 0.016
    frozen = {"w": model["w"], "scale": jnp.asarray(2.0, dtype)}
    found, _ = fit(frozen, cast, **options | {"steps": 2}, trainable={"w": True, "scale": False})
    assert found["scale"].dtype == dtype
