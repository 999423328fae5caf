"""One step of two players, of which one may look ahead at what the other will do."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from pullback._key import checked_key
from pullback._promotion import standard_promotion
from pullback.bilevel import unroll
from pullback.games._game import AbstractGame
from pullback.games._stateless import check_stateless
from pullback.train import apply_gradient

# The states of optimisers that ask for the loss as a function of the parameters.
_SEARCHES = (optax.ScaleByZoomLinesearchState, optax.ScaleByBacktrackingLinesearchState)


class GANState(eqx.Module):
    """What a step changes.

    Attributes:
        generator: any PyTree.
        discriminator: any PyTree.
        generator_state: of its optimiser.
        discriminator_state: of its optimiser.
    """

    generator: PyTree
    discriminator: PyTree
    generator_state: PyTree
    discriminator_state: PyTree


class GANStep(eqx.Module):
    r"""A step of a generator and of a discriminator, for `pullback.train.iterate`.

    $$ \theta_D^{k+1} = \theta_D^k + \text{update}\big(\nabla L_D(\theta_G, \theta_D^k)\big), \qquad
       \theta_G \leftarrow \theta_G + \text{update}\Big(
       \frac{d}{d \theta_G} L_G\big(\theta_G, \theta_D^K(\theta_G)\big)\Big) $$

    The generator looks `unroll` = K steps of the discriminator ahead, on the same data and noise,
    from the state that the discriminator's optimiser is in, and differentiates through them. They
    are then thrown away: the discriminator itself takes the one step that it would have taken. Both
    move at once. With `unroll=0` it is the plain game. K between 5 and 10 keeps generators from
    falling onto one mode; where they do not fall, it buys nothing.

    Args:
        generator_optimiser: an Optax transformation.
        discriminator_optimiser: another. With `unroll`, Adam and its kin need `eps_root`, as in
            `optax.adam(1e-4, eps_root=1e-14)`.
        game: what is played, such as `GANGame(latent=16)`.
        unroll: K.
        stop_gradient: take the discriminator after K steps as a constant. It is the wrong term
            alone, for comparison: "K more steps of the discriminator".
        discriminator_steps: steps of the discriminator for each of the generator. With more than 1
            a batch has them in front, as `Stream(data, size, batches=...)` gives it.
        checkpoint: as for `pullback.bilevel.unroll`: less memory, for one pass more of each step
            that is looked ahead.

    Raises:
        TypeError: an optimiser is none, or searches along a line; `game` is none.
        ValueError: a number does not fit; a model keeps running averages, as batch normalisation
            does; the discriminator's optimiser has no derivative; or there are no batches for
            `discriminator_steps`.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax
        >>> from pullback.games import GANGame
        >>> adam = optax.adam(1e-3, eps_root=1e-14)
        >>> step = GANStep(adam, adam, GANGame(latent=3), unroll=2)
        >>> state = step.init(eqx.nn.MLP(3, 2, 8, 1, key=jax.random.key(0)),
        ...                   eqx.nn.MLP(2, "scalar", 8, 1, key=jax.random.key(1)))
        >>> state, metrics = eqx.filter_jit(step)(state, jnp.ones((4, 2)), key=jax.random.key(2))
        >>> sorted(metrics)
        ['accuracy', 'discriminator_loss', 'generator_loss', 'unrolled_loss']

    Source: Metz et al., Unrolled Generative Adversarial Networks, arXiv 1611.02163, section 2.
    """

    generator_optimiser: Any
    discriminator_optimiser: Any
    game: AbstractGame
    _: KW_ONLY
    unroll: int = eqx.field(default=0, static=True)
    stop_gradient: bool = eqx.field(default=False, static=True)
    discriminator_steps: int = eqx.field(default=1, static=True)
    checkpoint: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        for name in ("generator_optimiser", "discriminator_optimiser"):
            _check_optimiser(name, getattr(self, name))
        if not isinstance(self.game, AbstractGame):
            raise TypeError(
                "`game` must be an `AbstractGame`, such as `GANGame(latent=16)`, which says what "
                f"is shown and what is made small; got {self.game!r}."
            )
        for name, least in (("unroll", 0), ("discriminator_steps", 1)):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise ValueError(
                    f"`{name}` must be a whole number, {least} or more; got {number!r}. Of a "
                    f"number of NumPy's make Python's, int({name})."
                )
        if self.stop_gradient and not self.unroll:
            raise ValueError(
                "`stop_gradient` is about steps that are looked ahead, and `unroll` is 0: leave it "
                "out, or give `unroll`."
            )

    def init(self, generator: PyTree, discriminator: PyTree) -> GANState:
        """The state before the first step."""
        players = {"generator": generator, "discriminator": discriminator}
        for name, player in players.items():
            _check_player(name, player)
        optimisers = (self.generator_optimiser, self.discriminator_optimiser)
        with standard_promotion():
            states = [
                jax.tree.map(jnp.asarray, optimiser.init(eqx.filter(each, eqx.is_inexact_array)))
                for optimiser, each in zip(optimisers, players.values(), strict=True)
            ]
        for name, state in zip(players, states, strict=True):
            _check_needs_no_line(f"{name}_optimiser", state)
        return GANState(generator, discriminator, *states)

    def __call__(
        self, state: GANState, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[GANState, dict[str, Array]]:
        """The state after a step, and the losses before it."""
        key = checked_key(key)
        if self.discriminator_steps > 1:
            _check_batches(batch, self.discriminator_steps)
            state, batch, key = self._discriminate(state, batch, key)
        show_key, key = jr.split(key)
        shown, to_generator = eqx.filter_vjp(
            lambda generator: self.game.show(generator, batch, key=show_key), state.generator
        )
        losses, to_players, metrics = eqx.filter_vjp(
            lambda *players: _swap(self.game.losses(*players, key=key)),
            state.discriminator, shown, has_aux=True,
        )  # fmt: skip
        one, zero = (jnp.full_like(losses[0], x) for x in (1, 0))
        of_discriminator, _ = to_players((one, zero))
        metrics = {"discriminator_loss": losses[0], "generator_loss": losses[1], **metrics}
        value = losses[1]
        if self.unroll:
            ahead = lambda shown: self._ahead(state, shown, key)
            value, of_shown = eqx.filter_value_and_grad(ahead)(shown)
            metrics["unrolled_loss"] = value
        else:
            _, of_shown = to_players((zero, one))
        [of_generator] = to_generator(of_shown)
        generator, generator_state = apply_gradient(
            self.generator_optimiser, of_generator, state.generator_state, state.generator,
            loss=value,
        )  # fmt: skip
        discriminator, discriminator_state = apply_gradient(
            self.discriminator_optimiser, of_discriminator, state.discriminator_state,
            state.discriminator, loss=losses[0],
        )  # fmt: skip
        return GANState(generator, discriminator, generator_state, discriminator_state), metrics

    def _ahead(self, state: GANState, shown: PyTree, key: PRNGKeyArray) -> Array:
        """The generator's loss against the discriminator that it will meet."""
        discriminator, _ = unroll(
            lambda discriminator: self.game.losses(discriminator, shown, key=key)[0],
            state.discriminator, self.discriminator_optimiser, state.discriminator_state,
            steps=self.unroll, checkpoint=self.checkpoint,
        )  # fmt: skip
        if self.stop_gradient:
            arrays, rest = eqx.partition(discriminator, eqx.is_array)
            discriminator = eqx.combine(jax.lax.stop_gradient(arrays), rest)
        return self.game.losses(discriminator, shown, key=key)[1]

    def _discriminate(
        self, state: GANState, batches: PyTree, key: PRNGKeyArray
    ) -> tuple[GANState, PyTree, PRNGKeyArray]:
        """The discriminator's steps but the last, and what is left for that."""
        keys = jr.split(key, self.discriminator_steps)
        params, rest = eqx.partition(state.discriminator, eqx.is_inexact_array)

        def step(carry: PyTree, item: tuple[PyTree, PRNGKeyArray]) -> tuple[PyTree, None]:
            params, optimiser_state = carry
            batch, key = item
            show_key, key = jr.split(key)
            shown = self.game.show(state.generator, batch, key=show_key)
            of = lambda params: self.game.losses(eqx.combine(params, rest), shown, key=key)[0]
            value, gradient = jax.value_and_grad(of)(params)
            discriminator, optimiser_state = apply_gradient(
                self.discriminator_optimiser, gradient, optimiser_state,
                eqx.combine(params, rest), loss=value,
            )  # fmt: skip
            return (eqx.filter(discriminator, eqx.is_inexact_array), optimiser_state), None

        first = jax.tree.map(lambda rows: rows[:-1], (batches, keys))
        (params, optimiser_state), _ = jax.lax.scan(
            step, (params, state.discriminator_state), first
        )
        state = GANState(
            state.generator, eqx.combine(params, rest), state.generator_state, optimiser_state
        )
        return state, jax.tree.map(lambda rows: rows[-1], batches), keys[-1]


def _swap(found: tuple[Array, Array, dict]) -> tuple[tuple[Array, Array], dict]:
    """The two losses, which have gradients, and the metrics beside them."""
    own, others, metrics = found
    return (own, others), metrics


def _check_optimiser(name: str, optimiser: Any) -> None:
    """Raise for what is no optimiser, or has yet to be called with a learning rate."""
    if not all(callable(getattr(optimiser, method, None)) for method in ("init", "update")):
        raise TypeError(
            f"`{name}` must be an Optax gradient transformation, such as `optax.adam(1e-4)`, with "
            f"its learning rate; got {optimiser!r}."
        )


def _check_needs_no_line(name: str, state: PyTree) -> None:
    """Raise for an optimiser that searches along a line: it asks for a loss that stays."""
    searches = lambda node: isinstance(node, _SEARCHES)
    if any(map(searches, jax.tree.leaves(state, is_leaf=searches))):
        raise TypeError(
            f"`{name}` searches along a line, as `optax.lbfgs` does, and a player's loss changes "
            "with each step of the other player. Use `optax.adam` or `optax.sgd`."
        )


def _check_batches(batches: PyTree, steps: int) -> None:
    """Raise where there is no batch for each step."""
    for leaf in jax.tree.leaves(batches):
        if jnp.shape(leaf)[:1] != (steps,):
            raise ValueError(
                f"`batch` must have the batches of `discriminator_steps` in front, an axis of "
                f"{steps} before that of the examples, as `Stream(data, size, batches={steps})` "
                f"gives it; got the shape {jnp.shape(leaf)}."
            )


def _check_player(name: str, player: PyTree) -> None:
    """Raise for a model with nothing to train, or with averages that a step would have to carry."""
    check_stateless(name, player)
    if not any(map(eqx.is_inexact_array, jax.tree.leaves(player))):
        raise TypeError(f"`{name}` has no weights: no leaf of it is a floating array.")
