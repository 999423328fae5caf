"""Training steps that can be differentiated through."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array, PyTree

from pullback.bilevel._checks import check_whole
from pullback.train import apply_gradient

M = TypeVar("M")


def unroll(
    loss: Callable[..., Array],
    model: M,
    optimiser: Any,
    state: PyTree = None,
    *,
    steps: int,
    batches: PyTree = None,
    checkpoint: bool = True,
) -> tuple[M, PyTree]:
    r"""Some steps of an Optax optimiser, as a function that JAX differentiates.

    $$ \theta_{s+1} = \theta_s + \text{update}\big(\nabla_\theta \ell(\theta_s)\big) $$

    Its value has derivatives by everything that `loss` and `optimiser` close over:
    hyperparameters, the other player's parameters, a learning rate; and by `model` and `state`.

    Args:
        loss: `loss(model) -> scalar`, or `loss(model, batch)` with `batches`.
        model: where to start, any PyTree. Its real floating arrays are what is moved.
        optimiser: an Optax gradient transformation.
        state: the optimiser's; None: `optimiser.init` of the parameters.
        steps: how many.
        batches: a PyTree of arrays with a leading axis of `steps`, of which each step is given its
            row; a row may be a batch and a key. None: `loss` takes the model alone.
        checkpoint: keep the parameters of every step, and compute the rest again on the way back.
            Else everything that a step made is kept too, which saves one pass of it.

    Returns:
        The model and the optimiser's state after the last step.

    Raises:
        ValueError: `optimiser` has no derivative where a gradient is zero, as Adam has with its
            default `eps_root=0`; or `steps` is not 1 or more, or not the leading axis of `batches`.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> def end(log_rate):
        ...     sgd = optax.sgd(jnp.exp(log_rate))
        ...     return unroll(lambda w: w**2 / 2, jnp.asarray(1.0), sgd, steps=2)[0]
        >>> print(f"{end(jnp.log(0.5)):.2f} {jax.grad(end)(jnp.log(0.5)):.2f}")
        0.25 -0.50

    Source:
        Maclaurin et al., "Gradient-based Hyperparameter Optimization through Reversible Learning",
        arXiv 1502.03492; Metz et al., "Unrolled Generative Adversarial Networks", arXiv 1611.02163.
    """
    check_whole(1, steps=steps)
    for leaf in jax.tree.leaves(batches):
        if jnp.shape(leaf)[:1] != (steps,):
            raise ValueError(
                f"`batches` must have a leading axis of `steps`, {steps}; got {jnp.shape(leaf)}."
            )
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    check_has_derivative(optimiser, params)
    if state is None:
        with jax.numpy_dtype_promotion("standard"):
            state = jax.tree.map(jnp.asarray, optimiser.init(params))

    def step(carry: tuple[PyTree, PyTree], batch: PyTree) -> tuple[tuple[PyTree, PyTree], None]:
        params, state = carry
        of_params = lambda params: loss(
            eqx.combine(params, rest), *(() if batches is None else (batch,))
        )
        value, gradient = jax.value_and_grad(of_params)(params)
        new, state = apply_gradient(optimiser, gradient, state, params, loss=value)
        return (new, state), None

    body = jax.checkpoint(step) if checkpoint else step
    (params, state), _ = jax.lax.scan(body, (params, state), batches, length=steps)
    return eqx.combine(params, rest), state


def check_has_derivative(optimiser: Any, params: PyTree) -> None:
    """Raise a ValueError for an optimiser whose step has no derivative at a gradient of zero."""
    with jax.ensure_compile_time_eval():
        # Of two entries one has no gradient: a clipped norm is none there, and Adam's root is.
        pair = lambda second: jax.tree.map(
            lambda leaf: jnp.asarray([0.0, second], leaf.dtype), params
        )
        zeros, gradient, nothing = pair(0.0), pair(1.0), jnp.zeros(())

    def moved(gradient: PyTree) -> Array:
        updates, _ = optax.with_extra_args_support(optimiser).update(
            gradient, optimiser.init(zeros), zeros,
            value=nothing, grad=gradient, value_fn=lambda params: nothing,
        )  # fmt: skip
        return sum((jnp.sum(leaf) for leaf in jax.tree.leaves(updates)), nothing)

    def slopes() -> Array:
        return jnp.stack(jax.tree.leaves(jax.grad(moved)(gradient)))

    with jax.ensure_compile_time_eval(), jax.numpy_dtype_promotion("standard"):
        closed = jax.make_jaxpr(slopes)()
        # A learning rate that is being differentiated has no value here: any will do.
        consts = [jnp.ones(c.shape, c.dtype) if isinstance(c, Tracer) else c for c in closed.consts]
        found = jax.jit(jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, consts)))()[0]
        missing = bool(jnp.any(jnp.isnan(found)))
    if missing:
        raise ValueError(
            "`optimiser` has no derivative where a gradient is zero, so gradients through its "
            "steps are NaN: Adam and its kin take the root of the mean square, whose slope at zero "
            "is infinite. Give them eps_root=1e-14, as in `optax.adam(1e-3, eps_root=1e-14)`."
        )
