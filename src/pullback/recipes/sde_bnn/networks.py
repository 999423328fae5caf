"""The four kinds of networks that `sde-bnn` compares: of one size, and trained alike."""

import functools
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.models.bayes import (
    SDEBNN,
    MeanFieldODENet,
    OUPrior,
    SDEBNNLoss,
    conv_sde_bnn,
    mlp_sde_bnn,
)
from pullback.models.ode_net import ODEBlock, ODENet, classification_loss
from pullback.nn import Constant
from pullback.recipes._kit.stack import made
from pullback.recipes.sde_bnn.stack import trained
from pullback.runs import Context


class PointNet(eqx.Module):
    """An ODE network whose features are dropped before and after its block, as `rate` says."""

    net: ODENet
    rate: Constant

    def __call__(self, x: Array, *, key: PRNGKeyArray) -> Float[Array, "batch classes"]:
        before, after = jr.split(key)
        features = self._dropped(jax.vmap(self.net.stem)(x), before)
        features, _ = self.net.block(features, throw=False)
        return jax.vmap(self.net.head)(self._dropped(features, after))

    def _dropped(self, features: Array, key: PRNGKeyArray) -> Array:
        rate = self.rate.values
        kept = jr.bernoulli(key, 1 - rate, features.shape)
        return jnp.where(kept, features / (1 - rate), 0)


def train(config: Any, context: Context, data: Any) -> dict[str, Any]:
    """Networks `[seed, strength]` of each kind, on images of each seed."""
    size, image = len(data.x), data.x.shape[2:]
    kappa = SDEBNNLoss(size, kappa=config.kappa)
    kinds = {
        "random weights": (_random_weights, config.sigmas, kappa),
        "mean field": (_mean_field, config.stds, kappa),
        "points": (_points, (*(0.0,) * config.members, *config.rates), classification_loss),
    }
    found = {}
    for number, (kind, (make, strengths, loss)) in enumerate(kinds.items()):
        keys = jr.fold_in(jr.key(context.seed), 10 + number)
        keys = jr.split(keys, (config.seeds, len(strengths)))
        of_seed = eqx.filter_vmap(functools.partial(make, config, image), in_axes=(0, 0))
        of_all = eqx.filter_vmap(of_seed, in_axes=(0, None))
        found[kind] = trained(
            context, kind.replace(" ", "-"), made(of_all, keys, jnp.asarray(strengths)), loss, data,
            steps=config.iterations, learning_rate=config.learning_rate,
            batch_size=config.batch_size, mapped=config.net == "conv",
        )  # fmt: skip
    return found


def _random_weights(config: Any, image: Any, key: PRNGKeyArray, sigma: Array) -> SDEBNN:
    prior, steps = OUPrior(sigma=sigma), config.solver_steps
    if config.net == "conv":
        colours = image[0] if len(image) == 3 else None
        return conv_sde_bnn(colours=colours, channels=config.dim, prior=prior, steps=steps, key=key)
    return mlp_sde_bnn(
        int(np.prod(image)), prior=prior, dim=config.dim, width=config.width, steps=steps, key=key
    )


def _plain(config: Any, image: Any, key: PRNGKeyArray) -> ODENet:
    """The same network as an ODE network, whose weights do not move in depth."""
    net = _random_weights(config, image, key, jnp.asarray(1.0))
    [block] = net.blocks
    field = block.field_at(block.process.start)
    return ODENet(
        net.stem, ODEBlock(field, solver=diffrax.Euler(), steps=config.solver_steps), net.head
    )


def _mean_field(config: Any, image: Any, key: PRNGKeyArray, std: Array) -> MeanFieldODENet:
    return MeanFieldODENet(_plain(config, image, key), prior_std=std)


def _points(config: Any, image: Any, key: PRNGKeyArray, rate: Array) -> PointNet:
    return PointNet(_plain(config, image, key), Constant(rate))


@eqx.filter_jit
def passes(net: Any, x: Array, keys: PRNGKeyArray) -> Float[Array, "passes batch classes"]:
    """Probabilities of each class, by one draw of the network for each key."""

    def one(key: PRNGKeyArray) -> Array:
        if isinstance(net, PointNet):
            return jax.nn.softmax(net(x, key=key), axis=-1)
        return net.predict(x, paths=1, throw=False, key=key)

    return jax.lax.map(one, keys)


@eqx.filter_jit
def divergence(net: SDEBNN | MeanFieldODENet, x: Array, key: PRNGKeyArray) -> Float[Array, ""]:
    """The KL of all weights from their prior, in nats."""
    return jnp.mean(net(x, paths=64, kl="analytic", throw=False, key=key).kl)
