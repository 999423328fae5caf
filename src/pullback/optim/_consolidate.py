"""The end of a task: what its weights were worth."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree

from pullback.optim._continual import ContinualState


def consolidate(
    optimiser: Any,
    state: ContinualState,
    params: PyTree,
    *,
    fisher: PyTree = None,
    reset_inner: bool = True,
) -> ContinualState:
    r"""The state at the end of a task, ready for the next one.

    $$ \Omega_k \leftarrow \max\Big(0, \Omega_k + \frac{\omega_k}
       {(\theta_k - \tilde\theta_k)^2 + \xi}\Big), \qquad \tilde\theta \leftarrow \theta, \qquad
       \omega \leftarrow 0 $$

    or, of `elastic_weight_consolidation`, $F_k \leftarrow F_k + \text{fisher}_k$. A weight that had
    no gradient keeps its importance. It is a pure function, to be compiled or mapped over the
    states of several runs.

    Args:
        optimiser: the one that `state` is of.
        state: after the last step of the task.
        params: the weights by then, as `optimiser.update` was given them.
        fisher: the diagonal Fisher information of the task, as `diagonal_fisher` gives it, for
            `elastic_weight_consolidation` alone. Any other importance of 0 or more will do.
        reset_inner: start the wrapped optimiser anew. The paper does so for tasks of other classes,
            and not for permuted ones; old momentum moves weights before the penalty is felt.

    Returns:
        The state for the next task.

    Raises:
        TypeError: `state` is of another optimiser.
        ValueError: no step was taken since the last call; `params` are of another structure;
            `omega` of `state` is not finite, where the call is not being compiled; `fisher` is
            missing, not wanted, of another structure, negative or not finite.

    Example:
        See `synaptic_intelligence`.
    """
    if not isinstance(state, ContinualState):
        raise TypeError(
            "`state` must be that of `synaptic_intelligence` or `elastic_weight_consolidation`, "
            f"outermost; got {type(state).__name__}."
        )
    _check_alike("params", params, state.reference)
    _check_stepped(state)
    fresh = optimiser.init(params)
    if not isinstance(fresh, ContinualState) or (fresh.omega is None) != (state.omega is None):
        raise TypeError("`optimiser` must be the one that `state` is of.")
    if state.omega is None:
        _check_fisher(fisher, state)
        added = fisher
    else:
        if fisher is not None:
            raise ValueError(
                "`fisher` is for `elastic_weight_consolidation`: synaptic intelligence measured "
                "the importance of the weights on its way. Leave it out."
            )
        _check_path(state)
        added = jax.tree.map(
            lambda omega, now, before: omega / ((now - before) ** 2 + _as(state.damping, omega)),
            state.omega, fresh.reference, state.reference,
        )  # fmt: skip
    importance = jax.tree.map(
        lambda old, new: jnp.maximum(old + _as(new, old), 0), state.importance, added
    )
    return ContinualState(
        inner=fresh.inner if reset_inner else state.inner,
        importance=importance,
        reference=fresh.reference,
        omega=fresh.omega,
        damping=state.damping,
        steps=fresh.steps,
        tasks=state.tasks + 1,
    )


def _as(value: Any, like: Any) -> Any:
    return jnp.asarray(value).astype(like.dtype)


def _check_stepped(state: ContinualState) -> None:
    if not isinstance(state.steps, jax.core.Tracer) and not bool(jnp.all(state.steps > 0)):
        raise ValueError(
            "no step was taken since the task began, so nothing tells what its weights are worth: "
            "call `consolidate` once, after the last step of each task."
        )


def _check_path(state: ContinualState) -> None:
    for at, leaf in jtu.tree_leaves_with_path(state.omega):
        if not isinstance(leaf, jax.core.Tracer) and not bool(jnp.all(jnp.isfinite(leaf))):
            raise ValueError(
                f"omega{jtu.keystr(at)} of `state` must be finite: a gradient of the task was NaN "
                "or infinite, and its step was taken. Learn the task again from the state before "
                "it, with an inner optimiser that skips such steps: "
                "`optax.apply_if_finite(inner, 5)`."
            )


def _check_alike(name: str, tree: PyTree, wanted: PyTree) -> None:
    shapes = lambda tree: {jtu.keystr(at): x.shape for at, x in jtu.tree_leaves_with_path(tree)}
    alike = jax.tree.structure(tree) == jax.tree.structure(wanted)
    got, wants = shapes(jax.tree.map(jnp.asarray, tree)), shapes(wanted)
    if alike and got == wants:
        return
    different = [at for at in {**wants, **got} if got.get(at) != wants.get(at)]
    where = different[0] if different else ""
    raise ValueError(
        f"`{name}` must be a tree like the parameters that the optimiser was started with; at "
        f"{where or 'its top'} it has {got.get(where, 'another structure')}, and they have "
        f"{wants.get(where, 'none')}. A layer that was added or taken away needs a new state."
    )


def _check_fisher(fisher: PyTree, state: ContinualState) -> None:
    if fisher is None:
        raise ValueError(
            "`elastic_weight_consolidation` needs `fisher`, the importance of the weights for this "
            "task: `diagonal_fisher(model, likelihood, x, key=key)` of its data."
        )
    _check_alike("fisher", fisher, state.importance)
    for at, leaf in jtu.tree_leaves_with_path(fisher):
        if isinstance(leaf, jax.core.Tracer):
            continue
        if not bool(jnp.all((leaf >= 0) & jnp.isfinite(leaf))):
            raise ValueError(f"fisher{jtu.keystr(at)} must be 0 or more and finite everywhere.")
