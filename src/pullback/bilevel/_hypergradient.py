"""The gradient of the outer loss by the hyperparameters, through what training makes of them."""

import abc
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._key import checked_key
from pullback._traced import compiled
from pullback.bilevel._checks import (
    UNROLLED,
    as_arrays,
    check_enters,
    check_has_gradient,
    check_hyper,
    check_losses,
    check_model,
    check_whole,
    value_of,
)
from pullback.bilevel._inverse import AbstractInverse, Neumann
from pullback.bilevel._unroll import unroll


class Hypergradient(NamedTuple):
    """A gradient of the outer loss by the hyperparameters.

    Attributes:
        value: the outer loss.
        gradient: as `hyper`; None in place of what in it is no floating array.
        gradient_norm: the size of the inner loss's gradient by the model's parameters: an implicit
            gradient takes it for zero.
        ratio: how the inverse did, as `InverseProduct` has it: above 1 its series diverges, near 1
            hardly anything was solved. 0 where there is no inverse.
        metrics: the outer loss's.
    """

    value: Float[Array, ""]
    gradient: PyTree
    gradient_norm: Float[Array, ""]
    ratio: Float[Array, ""]
    metrics: dict[str, Array]


class Problem(NamedTuple):
    """Two losses, and how the inner one is made small.

    Attributes:
        inner: `inner(model, hyper, batch, *, key) -> (scalar, dict of scalar metrics)`.
        outer: the same, on data held out.
        optimiser: an Optax transformation, or a function of `hyper` that gives one.
    """

    inner: Callable[..., Any]
    outer: Callable[..., Any]
    optimiser: Any

    def optimiser_at(self, hyper: PyTree) -> optax.GradientTransformation:
        """The optimiser for these hyperparameters."""
        found = self.optimiser(hyper) if callable(self.optimiser) else self.optimiser
        if not all(callable(getattr(found, name, None)) for name in ("init", "update")):
            raise TypeError(
                "`optimiser` must be an Optax gradient transformation, such as `optax.sgd(0.1)`, "
                f"or a function of `hyper` that gives one; got {found!r}."
            )
        return found


class Point(NamedTuple):
    """Where a bilevel problem stands: the model, its optimiser's state, the hyperparameters."""

    model: PyTree
    state: PyTree
    hyper: PyTree


class AbstractHypergradient(eqx.Module):
    """A way to the gradient of the outer loss by the hyperparameters.

    One's own needs `steps` and one method. It is a PyTree, and what it does is compiled into every
    outer step.

    Attributes:
        steps: how many training steps it takes itself, to differentiate through them.
    """

    steps: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(
        self,
        problem: Problem,
        point: Point,
        train: PyTree,
        validation: PyTree,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Hypergradient, Point]:
        """The hypergradient, and where training stands after it.

        Args:
            problem: the two losses and the optimiser.
            point: where training stands before.
            train: batches of the inner loss, with an axis of `max(steps, 1)` before that of the
                examples; or of 1, where all steps take the same; or None.
            validation: one batch of the outer loss, or None.
            key: for both losses. An implicit gradient uses it in all of their evaluations; each
                step of training has its own.

        Returns:
            The hypergradient, and the point with the model and the state after `steps` steps.
        """


class Implicit(AbstractHypergradient):
    r"""By the implicit function theorem, at a minimum of the inner loss:

    $$ \frac{d L_V}{d \lambda} = \frac{\partial L_V}{\partial \lambda} -
       \frac{\partial L_V}{\partial w} H^{-1} \frac{\partial^2 L_T}{\partial w\, \partial \lambda},
       \qquad H = \frac{\partial^2 L_T}{\partial w^2} $$

    Memory does not grow with the training behind it. Away from a minimum it is biased; how far that
    is, `Hypergradient.gradient_norm` tells.

    Args:
        inverse: what stands for the inverse.

    Source:
        Lorraine et al., arXiv 1911.02590, theorem 1 and algorithm 2.
    """

    inverse: AbstractInverse
    steps: int = eqx.field(static=True, init=False, default=0)

    def __call__(
        self,
        problem: Problem,
        point: Point,
        train: PyTree,
        validation: PyTree,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Hypergradient, Point]:
        key = checked_key(key)
        batch = jax.tree.map(lambda leaf: leaf[-1], train)
        params, rest = eqx.partition(point.model, eqx.is_inexact_array)
        numbers, others = eqx.partition(point.hyper, eqx.is_inexact_array)

        def judged(params: PyTree, numbers: PyTree) -> tuple[Array, dict[str, Array]]:
            model, hyper = eqx.combine(params, rest), eqx.combine(numbers, others)
            return value_of("outer", problem.outer, model, hyper, validation, key=key)

        def slope(params: PyTree, numbers: PyTree) -> PyTree:
            return slope_of(problem.inner, params, rest, numbers, others, batch, key=key)

        check_enters(
            {
                "the gradient of `inner`": lambda numbers: slope(params, numbers),
                "`outer`": lambda numbers: judged(params, numbers)[0],
            },
            numbers,
        )
        both = jax.value_and_grad(judged, argnums=(0, 1), has_aux=True)
        (value, metrics), (vector, direct) = both(params, numbers)
        gradient, indirect = response(self.inverse, slope, params, numbers, vector, key=key)
        total = jax.tree.map(lambda a, b: a - b, direct, indirect.solution)
        size = optax.tree.norm(gradient)
        return Hypergradient(value, total, size, indirect.ratio, metrics), point


class Unrolled(AbstractHypergradient):
    r"""Through the last steps of training, by reverse mode:

    $$ \frac{d}{d \lambda} L_V\big(w_K(\lambda), \lambda\big), \qquad
       w_{k + 1} = w_k + \text{update}\big(\nabla_w L_T(w_k, \lambda)\big) $$

    What came before counts as fixed. Each step has its own key. Memory grows with the steps.

    Args:
        steps: K.
        optimiser: an Optax transformation, or a function of `hyper` that gives one: so it tunes a
            learning rate. None: the one that training has.

    Source:
        Maclaurin et al., arXiv 1502.03492; Luketina et al., arXiv 1511.06727, of one step.
    """

    steps: int = eqx.field(static=True)
    optimiser: Any = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_whole(1, steps=self.steps)

    def __call__(
        self,
        problem: Problem,
        point: Point,
        train: PyTree,
        validation: PyTree,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Hypergradient, Point]:
        key = checked_key(key)
        if self.optimiser is not None:
            problem = problem._replace(optimiser=self.optimiser)
        if problem.optimiser is None:
            raise ValueError(
                "`Unrolled` needs the optimiser whose steps it takes: "
                "Unrolled(steps, optimiser=optax.sgd(0.1)), or a function of `hyper` that gives it."
            )
        numbers, others = eqx.partition(point.hyper, eqx.is_inexact_array)
        same = all(len(leaf) == 1 for leaf in jax.tree.leaves(train))
        only = jax.tree.map(lambda leaf: leaf[0], train) if same else None
        params, rest = eqx.partition(point.model, eqx.is_inexact_array)

        keys = jr.split(key, self.steps)

        def trained(model: PyTree, hyper: PyTree, batch: PyTree, key: PRNGKeyArray) -> Array:
            return value_of("inner", problem.inner, model, hyper, batch, key=key)[0]

        def at_end(numbers: PyTree) -> tuple[Array, tuple[dict[str, Array], PyTree, PyTree]]:
            hyper = eqx.combine(numbers, others)
            batch_of = lambda row: only if same else row
            loss = lambda model, item: trained(model, hyper, batch_of(item[0]), item[1])
            model, state = unroll(
                loss,
                point.model,
                problem.optimiser_at(hyper),
                point.state,
                steps=self.steps,
                batches=(None if same else train, keys),
            )
            value, metrics = value_of("outer", problem.outer, model, hyper, validation, key=key)
            return value, (metrics, eqx.filter(model, eqx.is_inexact_array), state)

        check_enters(
            {"the steps of training": lambda numbers: at_end(numbers)[0]}, numbers, remedy=UNROLLED
        )
        (value, (metrics, params, state)), gradient = jax.value_and_grad(at_end, has_aux=True)(
            numbers
        )
        last = only if same else jax.tree.map(lambda leaf: leaf[-1], train)
        slope = slope_of(problem.inner, params, rest, numbers, others, last, key=key)
        size = optax.tree.norm(slope)
        found = Hypergradient(value, gradient, size, jnp.zeros_like(size), metrics)
        return found, Point(eqx.combine(params, rest), state, point.hyper)


def hypergradient(
    inner: Callable[..., Any],
    outer: Callable[..., Any],
    model: PyTree,
    hyper: PyTree,
    train: PyTree,
    validation: PyTree,
    *,
    method: AbstractHypergradient | None = None,
    key: PRNGKeyArray,
) -> Hypergradient:
    r"""The gradient of the outer loss by the hyperparameters, $d L_V / d \lambda$, once.

    One batch and, for `Implicit`, one key serve all evaluations, so dropout and augmentation are
    frozen in it. `outer` is given the model in inference mode. No gradient comes through a draw
    such as `jax.random.bernoulli(key, rate)`: a dropout rate is tuned by `fit_self_tuning`.

    Args:
        inner: `inner(model, hyper, batch, *, key) -> (scalar, dict of scalar metrics)`, what
            training makes small; with the penalties and the noise that `hyper` sets.
        outer: the same, what the result is judged by.
        model: any PyTree; its real floating arrays are the weights. For `Implicit` the end of
            training, for `Unrolled` where its steps start.
        hyper: any PyTree of real floating arrays.
        train: a batch of the inner loss; None where it needs none.
        validation: a batch of the outer loss.
        method: `Implicit(inverse)` or `Unrolled(steps, optimiser)`. None: `Implicit(Neumann(20))`.
        key: a random key.

    Returns:
        A `Hypergradient`. A series that diverges is warned of, where its numbers are known.

    Raises:
        TypeError: a leaf of `hyper` is not real floating; a loss is none, or returns another thing.
        ValueError: there is one loss for two; `hyper` enters neither, under `Implicit`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def inner(w, hyper, batch, *, key):
        ...     return (w - 1) ** 2 / 2 + jnp.exp(hyper) * w**2 / 2, {}
        >>> def outer(w, hyper, batch, *, key):
        ...     return (w - 1) ** 2 / 2, {}
        >>> found = hypergradient(inner, outer, jnp.asarray(0.5), jnp.asarray(0.0), None, None,
        ...                       key=jax.random.key(0))
        >>> print(f"{found.gradient:.3f}")
        0.125

    Source:
        Lorraine et al., "Optimizing Millions of Hyperparameters by Implicit Differentiation",
        arXiv 1911.02590.
    """
    key = checked_key(key)
    check_losses(inner, outer)
    check_model(model)
    check_hyper(hyper)
    check_has_gradient(hyper)
    method = checked_method(method, Neumann(20))

    @compiled
    def find(
        method: AbstractHypergradient, model: PyTree, hyper: PyTree, data: PyTree, key: Array
    ) -> Hypergradient:
        batches, validation = data
        batches = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], batches)
        point = Point(model, None, hyper)
        return method(Problem(inner, outer, None), point, batches, validation, key=key)[0]

    model, hyper, data = as_arrays((model, hyper, (train, validation)))
    found = find(method, model, hyper, data, key)
    if not isinstance(found.ratio, Tracer):
        say_if_it_diverges(float(found.ratio))
    return found


def checked_method(method: Any, inverse: AbstractInverse) -> AbstractHypergradient:
    """The method, once it has proved to be one; None is an implicit gradient by `inverse`."""
    if method is None:
        return Implicit(inverse)
    if not isinstance(method, AbstractHypergradient):
        raise TypeError(
            "`method` must be an `AbstractHypergradient`, such as Implicit(Neumann(20)) or "
            f"Unrolled(5, optax.sgd(0.1)); got {method!r}."
        )
    return method


def say_if_it_diverges(ratio: float, *, above: float | int = 1) -> None:
    """Warn of a series whose terms grow."""
    if math.isnan(ratio):
        warnings.warn(
            "the inverse of the Hessian is not a number: its series ran over, or a direction has "
            "no curvature, or the losses are no numbers here. Give `damping`, or another inverse.",
            stacklevel=3,
        )
    elif ratio > above:
        warnings.warn(
            f"the inverse of the Hessian diverges: what is left is {ratio:.3g} times what there "
            "was at first. The curvature is negative somewhere, so train longer or give "
            "`damping`; or the step size is above 2 over the largest eigenvalue: leave it out to "
            "have it found.",
            stacklevel=3,
        )


def response(
    inverse: AbstractInverse,
    slope: Callable[[PyTree, PyTree], PyTree],
    params: PyTree,
    numbers: PyTree,
    vector: PyTree,
    *,
    key: PRNGKeyArray,
) -> tuple[PyTree, Any]:
    """The inner gradient, and what `numbers` get of `vector` by way of the solution.

    The second has the ratio of the inverse, and for its solution
    $v^T H^{-1} d^2 L_T / dw d lambda$.
    """
    # What all products with the Hessian share is computed once.
    _, product = jax.linearize(lambda params: slope(params, numbers), params)
    found = inverse(product, vector, key=key)
    gradient, pull = jax.vjp(lambda numbers: slope(params, numbers), numbers)
    return gradient, found._replace(solution=pull(found.solution)[0])


def slope_of(
    inner: Callable[..., Any],
    params: PyTree,
    rest: PyTree,
    numbers: PyTree,
    others: PyTree,
    batch: PyTree,
    *,
    key: PRNGKeyArray,
) -> PyTree:
    """The gradient of the inner loss by the parameters."""
    hyper = eqx.combine(numbers, others)

    def loss(params: PyTree) -> Array:
        return value_of("inner", inner, eqx.combine(params, rest), hyper, batch, key=key)[0]

    return jax.grad(loss)(params)
