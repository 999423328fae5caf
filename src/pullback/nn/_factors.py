"""The gradient of every example by every weight of a user's network, in factors."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from pullback._key import checked_key
from pullback._leading_axis import leading_axis
from pullback._traced import compiled

from ._layer_factors import LayerFactors, wide
from ._places import Places
from ._taps import AbstractWeightNoise, Tap
from ._usage import EXCLUDED, Usage, usage

M = TypeVar("M")


class Factors(eqx.Module):
    """Every example's gradient of its own loss, without a matrix an example.

    Attributes:
        losses: of each example, [n].
        parts: the model with a `LayerFactors` in the place of each layer, the gradients of each
            example, with a leading axis n, in the places of its other parameters, and None for all
            else.
    """

    losses: Float[Array, " n"]
    parts: PyTree

    @classmethod
    def of(cls, gradients: PyTree) -> "Factors":
        """Gradients that were formed, as factors: so that either does where one is asked for.

        Args:
            gradients: a PyTree of real floating arrays with a leading axis n, the examples, as
                `per_example_gradients` gives it; factors are returned as they are. The losses,
                which nobody knows, are NaN.

        Raises:
            ValueError: the arrays do not share their leading axis.
            TypeError: an array is not floating.
        """
        if isinstance(gradients, cls):
            return gradients
        gradients = jax.tree.map(jnp.asarray, gradients)
        count = leading_axis(gradients, name="gradients")
        dtypes = [leaf.dtype for leaf in jax.tree.leaves(gradients)]
        if wrong := [dtype for dtype in dtypes if not jnp.issubdtype(dtype, jnp.floating)]:
            raise TypeError(f"`gradients` must be real floating arrays, got {wrong[0]}.")
        return cls(jnp.full(count, jnp.nan, dtypes[0]), gradients)

    @property
    def layers(self) -> dict[str, LayerFactors]:
        """The factors of each layer, by its place: `.layers[0]`."""
        found = jax.tree_util.tree_leaves_with_path(self.parts, is_leaf=_is_factors)
        return {jax.tree_util.keystr(path): part for path, part in found if _is_factors(part)}

    @property
    def others(self) -> dict[str, Float[Array, "n ..."]]:
        """The gradients of each example by the parameters that are in no known layer."""
        found = jax.tree_util.tree_leaves_with_path(self.parts, is_leaf=_is_factors)
        return {jax.tree_util.keystr(path): part for path, part in found if not _is_factors(part)}

    def gradient(self) -> PyTree:
        """The mean over the examples: the gradient of the mean loss, in the model's structure."""
        return self._each(lambda layer: layer.gradient(), lambda other: other.mean(axis=0))

    def gradients(self) -> PyTree:
        """The gradient of each example, with a leading axis n: n times the model's memory."""
        return self._each(lambda layer: layer.gradients(), lambda other: other)

    def squares(self) -> PyTree:
        """The mean over the examples of the squares of their gradients, entry by entry.

        Here, and in what follows, numbers are in float32 at least.
        """
        mean = lambda other: jnp.square(wide(other)).mean(axis=0)
        return self._each(lambda layer: layer.squares(), mean)

    def norms(self) -> Float[Array, " n"]:
        """The Euclidean norm of each example's gradient."""
        flat = lambda other: jnp.square(wide(other).reshape(len(other), -1)).sum(axis=1)
        parts = self._each(lambda layer: layer.squared_norms(), flat)
        # What a convolution adds up to is below 0 at times where it is 0.
        return jnp.sqrt(jnp.maximum(sum(jax.tree.leaves(parts)), 0))

    def gram(self) -> Float[Array, "n n"]:
        """The scalar product of every two examples' gradients."""
        flat = lambda other: wide(other).reshape(len(other), -1)
        parts = self._each(lambda layer: layer.gram(), lambda other: flat(other) @ flat(other).T)
        return sum(jax.tree.leaves(parts))  # type: ignore[return-value]

    def _each(self, of_layer: Callable, of_other: Callable) -> PyTree:
        each = lambda part: of_layer(part) if _is_factors(part) else of_other(part)
        return jax.tree.map(each, self.parts, is_leaf=_is_factors)


def layer_factors(
    loss: Callable[..., Any],
    model: PyTree,
    batch: PyTree,
    *,
    noise: dict[str, AbstractWeightNoise] | None = None,
    exclude: Sequence[str] | None = (),
    key: PRNGKeyArray,
) -> Factors:
    r"""Each example's gradient by each layer's weights, as an input and a signal.

    $$ \nabla_W \ell_n = s_n a_n^\top, \qquad a_n \text{ what the layer is given},\quad
       s_n = \partial \ell_n / \partial (W a_n + b) $$

    One backward pass gives a and s of every `eqx.nn.Linear` and every `eqx.nn.Conv2d` without
    groups, wherever it stands in the PyTree; no gradient of an example is formed. Of parameters
    elsewhere (of a `LayerNorm`, a scale of one's own) each example's gradient is formed. Nothing in
    the model needs to be changed, and nothing is written aside: layers are known by their places.

    Args:
        loss: `loss(model, batch, *, key) -> (scalar, dict of metrics)`, as for `train.fit`. It is
            called with batches of one example, so that its value must be a mean over examples.
        model: any PyTree with such layers.
        batch: a PyTree of arrays with a leading axis n, the examples.
        noise: by a dense layer's place, noise in its weights, another for each example, with a
            leading axis n; a and s are then those of the noisy network.
        exclude: places of layers, such as ".layers[0]", that are taken like other parameters: those
            that one example passes more than once. None: all that would be refused, whichever they
            are.
        key: each example's is another one, made of it.

    Raises:
        ValueError: the model has no such layer; one that one example passes several times (shared,
            scanned, mapped over positions), or as often as the data say, or whose weights are read
            beside its calls; normalisation over a batch; names that are no layer's.
        TypeError: `loss` returns something else.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = eqx.nn.MLP(3, "scalar", 8, 1, key=jax.random.key(0))
        >>> def loss(net, batch, *, key):
        ...     x, y = batch
        ...     return jnp.mean((jax.vmap(net)(x) - y) ** 2), {}
        >>> batch = jnp.ones((5, 3)), jnp.zeros(5)
        >>> factors = layer_factors(loss, net, batch, key=jax.random.key(1))
        >>> {name: layer.signal.shape for name, layer in factors.layers.items()}
        {'.layers[0]': (5, 8), '.layers[1]': (5, 1)}
        >>> factors.norms().shape, factors.gradient().layers[0].weight.shape
        ((5,), (8, 3))

    Source: Zhang et al., Noisy Natural Gradient as Variational Inference, arXiv 1712.02390, section
        3.2, and Faghri et al., A Study of Gradient Variance in Deep Learning, arXiv 2007.04532,
        section 3.2: what their curvature and their distances are made of.
    """
    key = checked_key(key)
    if exclude is None:
        if noise:
            raise ValueError("with `noise`, `exclude` must name the layers.")
        return compiled(_lenient)(loss, model, batch, key)
    noise = noise or {}
    _check_places(model, noise, exclude)
    return compiled(_strict)(loss, model, batch, noise, tuple(exclude), key)


def per_example_gradients(
    loss: Callable[..., Any], model: M, batch: PyTree, *, key: PRNGKeyArray
) -> M:
    """The gradient of each example's loss, by all of the real floating arrays of a model.

    Args:
        loss: as for `layer_factors`.
        model: any PyTree.
        batch: as for `layer_factors`.
        key: as for `layer_factors`.

    Returns:
        The model's parameters with a leading axis n; None in the places of all else.

    Raises:
        TypeError: `loss` returns something else.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> loss = lambda mean, x, *, key: (jnp.mean((x - mean) ** 2), {})
        >>> x = jnp.asarray([1.0, 2.0])
        >>> per_example_gradients(loss, jnp.asarray(0.0), x, key=jax.random.key(0)).tolist()
        [-2.0, -4.0]
    """
    return compiled(_gradients)(loss, model, batch, checked_key(key))


def per_example_norms(
    loss: Callable[..., Any], model: PyTree, batch: PyTree, *, key: PRNGKeyArray
) -> Float[Array, " n"]:
    r"""The Euclidean norm of each example's gradient, $|a_n| |s_n|$ of a dense layer.

    For any network: of layers that `layer_factors` refuses each example's gradient is formed.

    Args:
        loss: as for `layer_factors`.
        model: any PyTree.
        batch: as for `layer_factors`.
        key: as for `layer_factors`.

    Raises:
        TypeError: `loss` returns something else.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> loss = lambda net, x, *, key: (jnp.mean(jax.vmap(net)(x)), {})
        >>> net = eqx.nn.Linear(2, "scalar", use_bias=False, key=jax.random.key(0))
        >>> x = jnp.asarray([[3.0, 4.0], [0.0, 1.0]])
        >>> per_example_norms(loss, net, x, key=jax.random.key(0)).tolist()
        [5.0, 1.0]

    Source: Goodfellow, Efficient Per-Example Gradient Computations, arXiv 1510.01799.
    """
    return compiled(_norms)(loss, model, batch, checked_key(key))


def per_example_squares(
    loss: Callable[..., Any], model: M, batch: PyTree, *, key: PRNGKeyArray
) -> M:
    r"""The mean over the examples of their gradients' squares, $\frac1n \sum_n s_n^2 (a_n^2)^\top$.

    It is not the square of the mean gradient, which is smaller. For any network, as
    `per_example_norms`.

    Args:
        loss: as for `layer_factors`.
        model: any PyTree.
        batch: as for `layer_factors`.
        key: as for `layer_factors`.

    Returns:
        A number for each parameter, in the model's structure; None in the places of all else.

    Raises:
        TypeError: `loss` returns something else.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> loss = lambda mean, x, *, key: (jnp.mean((x - mean) ** 2), {})
        >>> x = jnp.asarray([1.0, -1.0])
        >>> per_example_squares(loss, jnp.asarray(0.0), x, key=jax.random.key(0)).item()
        4.0

    Source: Zhang et al., Noisy Natural Gradient as Variational Inference, arXiv 1712.02390,
        algorithm 1.
    """
    return compiled(_squares)(loss, model, batch, checked_key(key))


def _gradients(loss: Callable[..., Any], model: PyTree, batch: PyTree, key: PRNGKeyArray) -> PyTree:
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    value = lambda params, row, key: _value(loss, eqx.combine(params, rest), row, key)
    return jax.vmap(jax.grad(value), in_axes=(None, 0, 0))(params, batch, _keys(batch, key))


def _norms(loss: Callable[..., Any], model: PyTree, batch: PyTree, key: PRNGKeyArray) -> Array:
    return _lenient(loss, model, batch, key).norms()


def _squares(loss: Callable[..., Any], model: PyTree, batch: PyTree, key: PRNGKeyArray) -> PyTree:
    return _lenient(loss, model, batch, key).squares()


def _strict(
    loss: Callable[..., Any],
    model: PyTree,
    batch: PyTree,
    noise: dict[str, AbstractWeightNoise],
    exclude: tuple[str, ...],
    key: PRNGKeyArray,
) -> Factors:
    places = Places(model, exclude)
    used = _usage(loss, places, batch, key)
    for name, how in used.items():
        if (fault := how.fault(name)) is not None:
            raise ValueError(fault)
    return _factors(loss, places, used, batch, noise, key)


def _lenient(loss: Callable[..., Any], model: PyTree, batch: PyTree, key: PRNGKeyArray) -> Factors:
    """The factors of those layers that have some, and the whole gradients of the others."""
    places = Places(model)
    used = _usage(loss, places, batch, key)
    faulty = [name for name, how in used.items() if how.fault(name) is not None]
    return _factors(loss, Places(model, faulty), used, batch, {}, key)


def _usage(
    loss: Callable[..., Any], places: Places, batch: PyTree, key: PRNGKeyArray
) -> dict[str, Usage]:
    leading_axis(batch, name="batch")
    first = jax.tree.map(lambda leaf: leaf[0], batch)
    value = lambda layers: _value(loss, places.put(layers), first, key)
    return usage(value, places.layers)


def _factors(
    loss: Callable[..., Any],
    places: Places,
    used: dict[str, Usage],
    batch: PyTree,
    noise: dict[str, AbstractWeightNoise],
    key: PRNGKeyArray,
) -> Factors:
    others, rest = eqx.partition(places.others, eqx.is_inexact_array)
    slots = {name: used[name].slots(layer) for name, layer in places.layers.items()}

    def of_one(others: PyTree, slots: dict, noise: dict, row: PyTree, key: PRNGKeyArray) -> Array:
        taps = {
            name: Tap(layer=layer, slots=slots[name], noise=noise.get(name), name=f"model{name}")
            for name, layer in places.layers.items()
        }
        return _value(loss, places.put(taps, eqx.combine(others, rest)), row, key)

    pulled = jax.vmap(jax.value_and_grad(of_one, argnums=(0, 1)), in_axes=(None, None, 0, 0, 0))
    losses, (gradients, filled) = pulled(others, slots, noise, batch, _keys(batch, key))
    bare = lambda layer: eqx.filter(layer, eqx.is_array, inverse=True)
    found = {
        name: LayerFactors(filled[name].input, filled[name].signal, bare(layer))
        for name, layer in places.layers.items()
    }
    return Factors(losses, places.put(found, gradients))


def _value(loss: Callable[..., Any], model: PyTree, row: PyTree, key: PRNGKeyArray) -> Array:
    """The loss of one example."""
    found = loss(model, jax.tree.map(lambda leaf: leaf[None], row), key=key)
    fits = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)
    is_one = fits and isinstance(found[0], Array) and found[0].shape == ()
    if not is_one or not jnp.issubdtype(found[0].dtype, jnp.floating):
        raise TypeError(
            "`loss` must return a floating scalar and a dictionary of metrics, as in `return "
            f"value, {{}}`; got {jax.tree.map(jnp.shape, found)}."
        )
    return found[0]


def _keys(batch: PyTree, key: PRNGKeyArray) -> Key[Array, " n"]:
    return jr.split(key, leading_axis(batch, name="batch"))


def _is_factors(node: Any) -> bool:
    return isinstance(node, LayerFactors)


def _check_places(
    model: PyTree, noise: dict[str, AbstractWeightNoise], exclude: Sequence[str]
) -> None:
    """Raise for a model without layers, and for names that are none of a layer to be factored."""
    if isinstance(exclude, str):
        raise ValueError(f"`exclude` must be a sequence of places; write [{exclude!r}].")
    places = Places(model)
    known = places.layers
    if not known and not places.stacks:
        raise ValueError(
            "`model` must have an `eqx.nn.Linear` or an `eqx.nn.Conv2d`; it has none. For the "
            "gradients of each example use `per_example_gradients`."
        )
    first: dict[int, str] = {}
    for name, layer in known.items():
        other = first.setdefault(id(layer), name)
        if name not in exclude and other != name:
            raise ValueError(
                f"`model{other}` and `model{name}` are one layer, which JAX would train as two: "
                "tie them by `eqx.nn.Shared`, and name it in `exclude`."
            )
    for name in places.stacks:
        if name not in exclude:
            raise ValueError(
                f"`model{name}` is a stack of layers, which one input and one signal do not "
                f"account for: name it in `exclude`; {EXCLUDED}."
            )
    for argument, names in {"exclude": exclude, "noise": noise}.items():
        if unknown := [name for name in names if name not in (*known, *places.stacks)]:
            raise ValueError(
                f"`{argument}` names {unknown[0]!r}, which is no layer; there are {list(known)}."
            )
    dense = [name for name, layer in known.items() if isinstance(layer, eqx.nn.Linear)]
    if wrong := [name for name in noise if name in exclude or name not in dense]:
        raise ValueError(f"`noise` is for dense layers that are not excluded; got {wrong[0]!r}.")
