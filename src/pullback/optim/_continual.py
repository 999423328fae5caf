"""Optimisers that hold on to earlier tasks: a quadratic pull back, weight by weight."""

import math
import numbers
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from pullback._floating import at_least_float32


class ContinualState(eqx.Module):
    """What `synaptic_intelligence` and `elastic_weight_consolidation` carry from step to step.

    It is a PyTree of arrays, so `pullback.train.save_checkpoint` keeps it, and the next task may
    come in another process. Trees like the parameters are in float32 at least.

    Attributes:
        inner: the state of the wrapped optimiser.
        importance: of each weight, for all tasks that were consolidated; 0 or more.
        reference: the weights at the end of the last task, which are the start of this one.
        omega: minus the integral of the gradient along the path of this task, each weight's part of
            the fall of its loss. None, of `elastic_weight_consolidation`.
        damping: as given. None, of `elastic_weight_consolidation`.
        steps: taken in this task.
        tasks: consolidated so far.
    """

    inner: PyTree
    importance: PyTree
    reference: PyTree
    omega: PyTree
    damping: Float[Array, "*runs"] | None
    steps: Int[Array, "*runs"]
    tasks: Int[Array, "*runs"]


def synaptic_intelligence(
    inner: optax.GradientTransformation,
    *,
    strength: float | int | Array,
    damping: float | int = 1e-3,
) -> optax.GradientTransformationExtraArgs:
    r"""An optimiser that keeps what it learned in earlier tasks, by synaptic intelligence.

    $$ \tilde L(\theta) = L(\theta) + c \sum_k \Omega_k (\theta_k - \tilde\theta_k)^2, \qquad
       \omega_k = -\sum_s \frac{\partial L}{\partial \theta_k}(\theta^s)
                  \, (\theta_k^{s+1} - \theta_k^s) $$

    with $c$ the `strength` and no factor 1/2. $L$ is the loss of the task at hand alone, and the
    step is whatever `inner` makes of the gradient of $\tilde L$. The sum of $\omega$ over the
    weights is the fall of $L$ along the path, up to the size of the steps and to the noise of
    batches, which makes it larger. At the end of a task `consolidate` turns $\omega$ into
    importance,

    $$ \Omega_k \leftarrow \max\Big(0, \Omega_k + \frac{\omega_k}
       {(\theta_k - \tilde\theta_k)^2 + \xi}\Big), \qquad \tilde\theta_k \leftarrow \theta_k $$

    with $\xi$ the `damping`. With a `strength` of 0 the steps are those of `inner` alone, and
    $\omega$ is measured all the same: the same to the bit where nothing is compiled, and otherwise
    to rounding, as a compiler may fuse the arithmetic of $\omega$ with that of the step. A weight
    that a step leaves where it is adds nothing to $\omega$, whatever its gradient: so a step that
    `inner` skips for a NaN, such as `optax.apply_if_finite` does, is skipped here too.

    Give `update` gradients of the loss of the data, without any penalty, and the parameters. It has
    to be the outermost transformation: what clips or rescales belongs into `inner`. What batch
    normalisation carries is no parameter, and is not held.

    Args:
        inner: any Optax optimiser. One that searches along a line is told of $\tilde L$.
        strength: $c$, 0 or more; 1 means to pay what the path says that a weight is worth.
        damping: $\xi$, above 0, in squared units of the weights; what bounds the importance of
            weights that hardly moved. It and `strength` belong together: look for both.

    Returns:
        An Optax transformation whose state is a `ContinualState`.

    Raises:
        TypeError: `inner` is no Optax transformation.
        ValueError: `strength` is negative or NaN, or `damping` not above 0; in `update`, without
            `params`.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from pullback.optim import consolidate
        >>> optimiser = synaptic_intelligence(optax.sgd(0.1), strength=1.0)
        >>> w = jnp.asarray([1.0, 1.0])
        >>> state = optimiser.init(w)
        >>> loss = lambda w: jnp.sum(jnp.asarray([2.0, 0.0]) * w**2) / 2  # of the first one alone
        >>> for _ in range(50):
        ...     updates, state = optimiser.update(jax.grad(loss)(w), state, w)
        ...     w = optax.apply_updates(w, updates)
        >>> state = consolidate(optimiser, state, w)
        >>> print(state.importance.round(2))
        [1.11 0.  ]

    Source: Zenke, Poole and Ganguli, Continual Learning Through Synaptic Intelligence,
        arXiv 1703.04200, section 3.
    """
    _check_number("damping", damping, above=True)
    return _wrapper(inner, strength, damping)


def elastic_weight_consolidation(
    inner: optax.GradientTransformation, *, strength: float | int | Array
) -> optax.GradientTransformationExtraArgs:
    r"""An optimiser that keeps what it learned in earlier tasks, by their Fisher information.

    $$ \tilde L(\theta) = L(\theta) + c \sum_k F_k (\theta_k - \tilde\theta_k)^2 $$

    with $F$ the sum of the diagonal Fisher informations that `consolidate` was given, each at the
    end of its task, and $\tilde\theta$ the weights at the end of the last one: the recursion of
    Laplace's approximation, which for mean losses of tasks of one size has $c = 1/2$. There is no
    factor 1/2: $c$ is half of the $\lambda$ of the paper.

    All else is as for `synaptic_intelligence`, but that a task costs a pass over its data at the
    end, by `diagonal_fisher`.

    Args:
        inner: any Optax optimiser.
        strength: $c$, 0 or more.

    Returns:
        An Optax transformation whose state is a `ContinualState`.

    Raises:
        TypeError: `inner` is no Optax transformation.
        ValueError: `strength` is negative or NaN; in `update`, without `params`.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from pullback.optim import consolidate
        >>> optimiser = elastic_weight_consolidation(optax.sgd(0.1), strength=1.0)
        >>> w = jnp.asarray([1.0, 1.0])
        >>> _, state = optimiser.update(jnp.zeros(2), optimiser.init(w), w)
        >>> state = consolidate(optimiser, state, w, fisher=jnp.asarray([3.0, 0.0]))
        >>> updates, state = optimiser.update(jnp.zeros(2), state, w + 1)
        >>> print(f"{updates[0]:.2f}")
        -0.60

    Source: Kirkpatrick et al., arXiv 1612.00796; with one reference for all tasks, Huszár, Note on
        the quadratic penalties in elastic weight consolidation, arXiv 1712.03847.
    """
    return _wrapper(inner, strength, None)


def _wrapper(inner: Any, strength: Any, damping: Any) -> optax.GradientTransformationExtraArgs:
    if not all(callable(getattr(inner, name, None)) for name in ("init", "update")):
        raise TypeError(
            "`inner` must be an Optax optimiser, such as `optax.adam(1e-3)`; got "
            f"{type(inner).__name__}."
        )
    _check_number("strength", strength, above=False)
    accepting = optax.with_extra_args_support(inner)
    # A zero that is added, too, makes the compiler round other sums of the step otherwise.
    pulls = isinstance(strength, jax.core.Tracer) or float(strength) != 0

    def init(params: PyTree) -> ContinualState:
        zeros = lambda: jax.tree.map(lambda p: jnp.zeros_like(_wide(p)), params)
        count = jnp.zeros((), jnp.int32)
        path = damping is not None
        return ContinualState(
            inner=inner.init(params),
            importance=zeros(),
            reference=jax.tree.map(_wide, params),
            omega=zeros() if path else None,
            damping=jnp.asarray(damping, jnp.result_type(float)) if path else None,
            steps=count,
            tasks=count,
        )

    def update(
        updates: PyTree, state: ContinualState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, ContinualState]:
        if params is None:
            raise ValueError(
                "`update` needs `params`, to know how far they are from those of earlier tasks: "
                "`optimiser.update(gradients, state, params)`."
            )
        total = updates
        if pulls:
            total = _with_pull(updates, strength, state, params)
            extra = _told(extra, strength, state, params)
        found, inner_state = accepting.update(total, state.inner, params, **extra)
        omega = state.omega
        if omega is not None:
            # The change that the weights really make: in half precision it is not the update.
            new = optax.apply_updates(params, found)
            omega = jax.tree.map(_with_step, omega, updates, new, params)
        return found, ContinualState(
            inner_state, state.importance, state.reference, omega, state.damping,
            state.steps + 1, state.tasks,
        )  # fmt: skip

    return optax.GradientTransformationExtraArgs(cast(Any, init), cast(Any, update))


def _with_step(omega: Array, gradient: Array, new: Array, old: Array) -> Array:
    """With a step's part of the path."""
    change = _wide(new) - _wide(old)
    # Of a step that was skipped the gradient may be NaN, and NaN times 0 is not 0.
    return omega - jnp.where(change == 0, 0, _wide(gradient)) * change


def _wide(leaf: Any) -> Array:
    leaf = jnp.asarray(leaf)
    return leaf.astype(at_least_float32(leaf.dtype))


def _with_pull(gradient: PyTree, strength: Any, state: ContinualState, params: PyTree) -> PyTree:
    """The gradient with that of the penalty."""

    def add(g: Array, o: Array, p: Array, r: Array) -> Array:
        slope = 2 * jnp.asarray(strength, o.dtype) * o * (_wide(p) - r)
        return (g.astype(o.dtype) + slope).astype(g.dtype)

    return jax.tree.map(add, gradient, state.importance, params, state.reference)


def _told(
    extra: dict[str, Any], strength: Any, state: ContinualState, params: PyTree
) -> dict[str, Any]:
    """What an optimiser is told that searches along a line, of the loss with the penalty."""

    def penalised(value: Any, params: PyTree) -> Array:
        parts = jax.tree.map(
            lambda o, p, r: jnp.asarray(strength, o.dtype) * jnp.sum(o * (_wide(p) - r) ** 2),
            state.importance, params, state.reference,
        )  # fmt: skip
        value = jnp.asarray(value)
        return sum((part.astype(value.dtype) for part in jax.tree.leaves(parts)), value)

    told = {name: given for name, given in extra.items() if given is not None}
    if "value" in told:
        told["value"] = penalised(told["value"], params)
    if "grad" in told:
        told["grad"] = _with_pull(told["grad"], strength, state, params)
    if "value_fn" in told:
        value_fn = told["value_fn"]
        told["value_fn"] = lambda params: penalised(value_fn(params), params)
    return {**extra, **told}


def _check_number(name: str, value: Any, *, above: bool) -> None:
    """Raise for a number that is not above 0, or not 0 or more; one that is traced has no value."""
    if isinstance(value, jax.core.Tracer):
        return
    scalar = isinstance(value, numbers.Real) or (eqx.is_array(value) and value.shape == ())
    if not scalar or isinstance(value, bool):
        raise TypeError(f"`{name}` must be a number, got {value!r}.")
    number = float(value)
    if not math.isfinite(number) or number < 0 or (above and number == 0):
        wants = "above 0" if above else "0 or more"
        advice = {
            "damping": "it keeps the importance of a weight that did not move finite; try 1e-3.",
            "strength": "it is how much earlier tasks count; 0 is the plain optimiser.",
        }[name]
        raise ValueError(f"`{name}` must be {wants} and finite, got {number}: {advice}")
