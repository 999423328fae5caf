"""Policy gradients with learned control variates, from recorded episodes."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from pullback._key import checked_key
from pullback._once import once

from ._control_variate import controlled
from ._discrete import discrete
from ._distribution import (
    Distribution,
    draw,
    is_reparameterised,
    log_prob,
    require_reparameterised,
    stop_gradient,
)
from ._estimator import attach_objective
from ._orders import likelihood_ratio
from ._relaxation import relaxation_noise, relaxed_from, relaxed_sample

P = TypeVar("P")
Policy = Callable[[Any], Distribution]


class Episodes(NamedTuple):
    """What was recorded while a policy acted: E episodes of up to T steps.

    Attributes:
        states: a PyTree of arrays `[E, T, ...]`.
        keys: those that `act` drew the actions with, `[E, T]`; actions are drawn again from them.
        rewards: `[E, T]`.
        mask: one for a step that was taken and zero after the end, `[E, T]`.
    """

    states: PyTree
    keys: Key[Array, "E T"]
    rewards: Float[Array, "E T"]
    mask: Float[Array, "E T"]


class PolicyGradient(NamedTuple):
    """The gradients of one update.

    Attributes:
        value: the mean discounted return of the episodes.
        policy: the gradient of the expected return with respect to the policy: to be climbed.
        estimator: what the estimator is to be moved against, in its structure.
    """

    value: Float[Array, ""]
    policy: PyTree
    estimator: PyTree


def act(policy: Policy, state: PyTree, *, key: Key[Array, ""]) -> Array:
    """The action that `policy_gradient` finds again from the state and the key.

    Args:
        policy: from a state to the distribution of the action.
        state: of one step.
        key: of this step, to be recorded.

    Returns:
        A one-hot or binary action as floats, or that of a continuous distribution.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.sampling import OneHotCategorical
        >>> act(lambda state: OneHotCategorical(state), jnp.zeros(3), key=jax.random.key(0)).shape
        (3,)
    """
    key = checked_key(key)
    q = policy(state)
    return draw(q, key) if is_reparameterised(q) else relaxed_sample(q, key=key).b


def discounted_returns(
    rewards: Float[Array, " T"], discount: float | Float[Array, ""]
) -> Float[Array, " T"]:
    r"""The return from each step on.

    $$ R_t = \sum_{s \ge t} \gamma^{s - t} r_s $$

    Args:
        rewards: of one episode.
        discount: $\gamma$, in [0, 1].

    Returns:
        $R_t$, of the shape of the rewards.

    Raises:
        ValueError: `discount` is a number outside [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> print(discounted_returns(jnp.array([1.0, 0.0, 4.0]), 0.5))
        [2. 2. 4.]

    Source: Sutton and Barto, Reinforcement Learning, equation 3.8.
    """
    if isinstance(discount, (int, float)) and not 0 <= discount <= 1:
        raise ValueError(f"`discount` must be in [0, 1], got {discount}.")
    gamma = jnp.asarray(discount, rewards.dtype)

    def step(later: Array, reward: Array) -> tuple[Array, Array]:
        total = reward + gamma * later
        return total, total

    return jax.lax.scan(step, jnp.zeros((), rewards.dtype), rewards, reverse=True)[1]


class AbstractPolicyEstimator(eqx.Module):
    """A way to estimate the gradient of the return from one episode."""

    @abc.abstractmethod
    def __call__(
        self,
        policy: Policy,
        episode: Episodes,
        returns: Float[Array, " T"],
        weights: Float[Array, " T"],
    ) -> tuple[PyTree, Float[Array, ""]]:
        """The policy's gradient, and a scalar whose gradient the estimator's arrays move against.

        Args:
            policy: whose arrays the gradient is with respect to.
            episode: one, without the axis of episodes.
            returns: from each step on.
            weights: of each step, zero after the end.
        """


class ActorCritic(AbstractPolicyEstimator):
    r"""Advantage actor-critic: a baseline that knows the state.

    $$ g = \sum_t \big(R_t - V(s_t)\big) \nabla \log \pi(a_t | s_t) $$

    V learns to predict $R_t$, by the squared error summed over the steps.

    Args:
        value: V, from a state to a scalar.

    Source: Mnih et al., Asynchronous Methods for Deep Reinforcement Learning, arXiv 1602.01783,
    with whole returns.
    """

    value: Callable[[Any], Float[Array, ""]]

    def __call__(
        self,
        policy: Policy,
        episode: Episodes,
        returns: Float[Array, " T"],
        weights: Float[Array, " T"],
    ) -> tuple[PyTree, Float[Array, ""]]:
        actions = _actions(policy, episode)
        ratio = _ratio(policy, episode)
        baseline = jax.vmap(self.value)(episode.states)
        gaps = ratio * weights * (returns - jax.lax.stop_gradient(baseline))

        def surrogate(policy: Policy) -> Array:
            return jnp.sum(gaps * jax.vmap(_scores(policy))(episode.states, actions))

        # Half the square: its slope is the error.
        error = ratio * jnp.sum(weights * jnp.square(returns - baseline)) / 2
        return eqx.filter_grad(surrogate)(policy), error


class RelaxPolicy(AbstractPolicyEstimator):
    r"""RELAX for discrete actions: a control variate that knows the action and the state.

    $$ g = \sum_t \big(R_t - c(\tilde z_t, s_t)\big) \nabla \log \pi(a_t | s_t)
       + \nabla c(z_t, s_t) - \nabla c(\tilde z_t, s_t) $$

    Unbiased for every c, which moves against $\sum_i g_i^2$ of the episode's gradient with respect
    to the policy's arrays.

    Args:
        control_variate: c, from the scores z of the action and a state to a scalar, smooth in z.

    Source: Grathwohl et al., arXiv 1711.00123, section 3.4 and appendix.
    """

    control_variate: Callable[[Array, Any], Float[Array, ""]]

    def __call__(
        self,
        policy: Policy,
        episode: Episodes,
        returns: Float[Array, " T"],
        weights: Float[Array, " T"],
    ) -> tuple[PyTree, Float[Array, ""]]:
        params, rest = eqx.partition(stop_gradient(policy), eqx.is_inexact_array)

        def step(policy: Policy, state: Any, key: Array) -> tuple[Array, Array]:
            distribution = discrete(policy(state), type(self).__name__)
            b, z, z_tilde = relaxed_from(distribution, *relaxation_noise(distribution, key))
            return jnp.stack([z, z_tilde]), distribution.log_prob(b)

        def path(params: PyTree) -> tuple[Array, Array]:
            moved = eqx.combine(params, rest)
            zs, scores = jax.vmap(lambda s, k: step(moved, s, k))(episode.states, episode.keys)
            return zs, weights * scores

        def evaluate(control: Callable, zs: Array, _: Array) -> tuple[Array, Array]:
            at = jax.vmap(lambda s, pair: jax.vmap(lambda z: control(z, s))(pair))(
                episode.states, zs
            )
            return jnp.sum(weights * (at[:, 0] - at[:, 1])), at[:, 1]

        held = controlled(
            evaluate, self.control_variate, path, params, returns, jnp.ones_like(returns)
        )
        return _of_first_order(*held, policy, self)


class LaxPolicy(AbstractPolicyEstimator):
    r"""LAX for continuous actions: a control variate that knows the action and the state.

    $$ g = \sum_t \big(R_t - c(a_t, s_t)\big) \nabla \log \pi(a_t | s_t) + \nabla c(a_t, s_t) $$

    where the last term's action moves with the policy. Unbiased for every c, which moves against
    $\sum_i g_i^2$ of the episode's gradient with respect to the policy's arrays.

    Args:
        control_variate: c, from an action and a state to a scalar, smooth in the action.

    Source: Grathwohl et al., arXiv 1711.00123, section 3.4.
    """

    control_variate: Callable[[Array, Any], Float[Array, ""]]

    def __call__(
        self,
        policy: Policy,
        episode: Episodes,
        returns: Float[Array, " T"],
        weights: Float[Array, " T"],
    ) -> tuple[PyTree, Float[Array, ""]]:
        params, rest = eqx.partition(stop_gradient(policy), eqx.is_inexact_array)

        def step(policy: Policy, state: Any, key: Array) -> tuple[Array, Array]:
            q = policy(state)
            require_reparameterised(q, type(self).__name__)
            action = draw(q, key)
            return action, log_prob(q, jax.lax.stop_gradient(action))

        def path(params: PyTree) -> tuple[Array, Array]:
            moved = eqx.combine(params, rest)
            actions, scores = jax.vmap(lambda s, k: step(moved, s, k))(episode.states, episode.keys)
            return actions, weights * scores

        def evaluate(control: Callable, actions: Array, _: Array) -> tuple[Array, Array]:
            at = jax.vmap(control)(actions, episode.states)
            return jnp.sum(weights * at), at

        held = controlled(
            evaluate, self.control_variate, path, params, returns, jnp.ones_like(returns)
        )
        return _of_first_order(*held, policy, self)


def _actions(policy: Policy, episode: Episodes) -> Array:
    """Those that were taken."""
    again = jax.vmap(lambda s, k: act(policy, s, key=k))
    return jax.lax.stop_gradient(again(episode.states, episode.keys))


def _ratio(policy: Policy, episode: Episodes) -> Float[Array, ""]:
    """The likelihood ratio of the episode, for the derivatives of what is measured on it."""
    scores = jax.vmap(_scores(policy))(episode.states, _actions(policy, episode))
    return likelihood_ratio(jnp.sum(episode.mask * scores))


def _of_first_order(
    gradient: P, objective: Array, policy: Policy, estimator: AbstractPolicyEstimator
) -> tuple[P, Array]:
    """Both, with an error for who differentiates them by the policy."""
    instead = "take `ActorCritic`, whose gradient has every derivative"
    gate = once(f"the policy gradient of {type(estimator).__name__}", instead, policy)
    gradient = jax.tree.map(lambda g: g * gate.astype(g.dtype), gradient)
    seen = (policy, estimator)
    return gradient, attach_objective(jnp.zeros_like(objective), objective, seen)


def _scores(policy: Policy) -> Callable[[Any, Array], Array]:
    return lambda state, action: log_prob(policy(state), action)


def policy_gradient(
    policy: Policy,
    episodes: Episodes,
    *,
    estimator: AbstractPolicyEstimator,
    discount: float | Float[Array, ""] = 0.99,
    discounted_states: bool = False,
) -> PolicyGradient:
    r"""The gradient of the expected return, from episodes that the policy has just acted.

    $$ \nabla_\theta \, \mathbb{E}\Big[\sum_t r_t\Big] \approx \frac1E \sum_e g_e, \qquad
       R_t = \sum_{s \ge t} \gamma^{s - t} r_s $$

    Unbiased for $\gamma = 1$ with every estimator here. Below one, $\gamma$ trades bias for
    variance, as is the custom; with `discounted_states` each step is weighted by $\gamma^t$, and
    the gradient is the unbiased one of the discounted return.

    Args:
        policy: an `eqx.Module`, or any PyTree, called with a state: the distribution of the action.
        episodes: recorded with this policy and `act`.
        estimator: `ActorCritic`, `RelaxPolicy` or `LaxPolicy`.
        discount: $\gamma$.
        discounted_states: weigh step t by $\gamma^t$.

    Returns:
        A `PolicyGradient`. The policy's part is to be climbed, the estimator's to be descended.

    Raises:
        ValueError: `discount` is outside [0, 1], or the estimator does not fit the actions.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from pullback.sampling import OneHotCategorical
        >>> class Bandit(eqx.Module):
        ...     logits: jax.Array
        ...     def __call__(self, state):
        ...         return OneHotCategorical(self.logits)
        >>> policy, keys = Bandit(jnp.zeros(2)), jax.random.split(jax.random.key(0), (4000, 1))
        >>> states = jnp.zeros((4000, 1))
        >>> arms = jax.vmap(jax.vmap(lambda s, k: act(policy, s, key=k)))(states, keys)
        >>> episodes = Episodes(states, keys, arms[..., 1], jnp.ones((4000, 1)))
        >>> estimator = ActorCritic(lambda state: 0.5)
        >>> found = policy_gradient(policy, episodes, estimator=estimator)
        >>> print(jnp.round(found.policy.logits, 2))  # exact: p (1 - p)
        [-0.25  0.25]

    Source: Grathwohl et al., arXiv 1711.00123, section 3.4; Williams (1992).
    """

    def returns_of(rewards: Array, mask: Array) -> tuple[Array, Array]:
        steps = jnp.arange(len(rewards)).astype(rewards.dtype)
        gamma = jnp.asarray(discount, rewards.dtype)
        weights = mask * gamma**steps if discounted_states else mask
        return discounted_returns(mask * rewards, discount), weights

    returns, weights = jax.vmap(returns_of)(episodes.rewards, episodes.mask)

    @eqx.filter_value_and_grad(has_aux=True)
    def objective(estimator: AbstractPolicyEstimator) -> tuple[Array, PyTree]:
        one = lambda episode, r, w: estimator(policy, episode, r, w)
        gradients, parts = jax.vmap(one)(episodes, returns, weights)
        return jnp.mean(parts), jax.tree.map(lambda g: jnp.mean(g, axis=0), gradients)

    (_, gradient), of_estimator = objective(estimator)
    value = jnp.mean(jax.vmap(lambda e: _ratio(policy, e))(episodes) * returns[:, 0])
    return PolicyGradient(value, gradient, of_estimator)
