"""What the estimators ask of a distribution."""

import functools
import inspect
from typing import Any, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions.discrete import ZeroInflatedLogits, ZeroInflatedProbs

from pullback._dependence import loses_gradients
from pullback._key import checked_key
from pullback._promotion import standard_promotion

from ._mass import log_of, log_or_none, mass_or_none
from ._support import membership, moved_inside, support_of

Q = TypeVar("Q")


@runtime_checkable
class Distribution(Protocol):
    """One of `numpyro.distributions`, or anything else with these two methods.

    Gradients flow through its array leaves: a class of your own is an `eqx.Module`, or is
    registered as a PyTree otherwise. `docs/distributions.md` has the whole contract. What else it
    can do is known by what it has:

    - `support`, one of `numpyro.distributions.constraints`: outside of it there is no density;
    - `has_rsample`, False where no gradient flows through its samples; left out, it is found out;
    - `as_discrete()`, of a discrete distribution: the same distribution, outcomes and shape, as
      NumPyro's `Bernoulli` or as `OneHotCategorical`, or an `Independent` or expanded one. With it
      a distribution is listed by `Enumeration` and relaxed by `GumbelSoftmax`, `StraightThrough`
      and `Relax`, `pullback.bounds.kl_divergence` knows it, and its densities have the right slopes
      at ties;
    - `kl_from(q)`, the divergence of q from it in closed form.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.sampling import Enumeration, expectation, rebar
        >>> class Ising(eqx.Module):  # independent spins of 0 and 1 in a field
        ...     field: jax.Array
        ...
        ...     def as_discrete(self):
        ...         return dist.Bernoulli(logits=self.field).to_event(1)
        ...
        ...     def sample(self, key, shape=()):
        ...         return self.as_discrete().sample(key, shape).astype(self.field.dtype)
        ...
        ...     def log_prob(self, z):
        ...         return self.as_discrete().log_prob(z)
        >>> def energy(field, estimator):
        ...     f = lambda z, q: jnp.sum(z) ** 2
        ...     return expectation(
        ...         f, Ising(field), estimator=estimator, num_samples=20_000, key=jax.random.key(0))
        >>> print(jax.grad(energy)(jnp.zeros(2), Enumeration()))
        [0.5 0.5]
        >>> print(jax.grad(energy)(jnp.zeros(2), rebar()).round(1))
        [0.5 0.5]
    """

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...], /) -> Any: ...

    def log_prob(self, value: Any, /) -> Array: ...


class Replicated(eqx.Module):
    r"""`count` independent draws from one distribution: $q^k(z_{1..k}) = \prod_i q(z_i)$.

    Args:
        base: the distribution of each.
        count: k, their number; samples have it as their first axis.

    Raises:
        ValueError: `count` is below 1.
    """

    base: Any
    count: int = eqx.field(static=True)

    def __check_init__(self):
        if self.count < 1:
            raise ValueError(f"`count` must be 1 or more, got {self.count}.")

    @property
    def has_rsample(self) -> bool:
        """Whether gradients flow through a sample."""
        return is_reparameterised(self.base)

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> Any:
        """Draws of shape `[*sample_shape, k, ...]`."""
        key = checked_key(key)
        return draw(self.base, key, (*sample_shape, self.count))

    def log_prob(self, value: Any) -> Float[Array, ""]:
        """Of one draw of all k, `[k, ...]`."""
        counts = {leaf.shape[:1] for leaf in map(jnp.asarray, jax.tree.leaves(value))}
        if counts != {(self.count,)}:
            raise ValueError(f"`value` must be {self.count} draws, one a row of its first axis.")
        return jnp.sum(jax.vmap(lambda z: log_prob(self.base, z))(value))


def draw(q: Distribution, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Any:
    """A sample; gradients flow through it where `is_reparameterised`.

    What can draw but one at a time, `sample(key)`, is mapped over as many keys.
    """
    key = checked_key(key)
    with standard_promotion():
        if _takes_shape(type(q)):
            return q.sample(key, shape)
        one: Any = q.sample
        for _ in shape:
            one = jax.vmap(one)
        return one(jr.split(key, shape) if shape else key)


@functools.lru_cache(maxsize=256)
def _takes_shape(kind: type) -> bool:
    """Whether `sample` has a place for a shape behind the key."""
    kinds = [each.kind for each in inspect.signature(kind.sample).parameters.values()]
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Parameter.VAR_POSITIONAL in kinds or sum(k in places for k in kinds) > 2


def log_prob(q: Distribution, z: Any) -> Float[Array, ""]:
    """The log-probability of one draw, all its independent parts together.

    Outside of the support that q names it is -inf, with the gradient 0, compiled or not, whatever
    NumPyro's `validate_args` is; NaN stays NaN. Its slopes are right at ties and ends, as at a
    logit of 0, for NumPyro's discrete distributions too.

    Example:
        >>> import numpyro.distributions as dist
        >>> print(jax.grad(lambda l: log_prob(dist.Bernoulli(logits=l), 1))(0.0))
        0.5
    """
    return jnp.sum(log_prob_of_parts(q, z))


def log_prob_of_parts(q: Any, z: Any) -> Float[Array, "..."]:
    """`log_prob` of each independent part: over the batch shape of q, or of `independent_parts`.

    It asks nothing but the method `log_prob` of q.
    """
    with standard_promotion():
        return _log_prob(q, z)


def probability(q: Distribution, z: Any) -> Float[Array, ""]:
    """Of one draw of discrete variables, with the slopes that it has where it is 0 or 1."""
    with standard_promotion():
        return jnp.prod(probability_of_parts(q, z))


def probability_of_parts(q: Distribution, z: Any) -> Float[Array, "..."]:
    """`probability` of each independent part."""
    with standard_promotion():
        parts: Any = independent_parts(q)
        if isinstance(parts, dist.ExpandedDistribution):
            base: Any = parts.base_dist
            found = probability_of_parts(base, z)
            return jnp.broadcast_to(found, jnp.broadcast_shapes(found.shape, parts.batch_shape))
        found = mass_or_none(parts, jnp.asarray(z))
        return jnp.exp(_log_prob(parts, z)) if found is None else found


def _log_prob(q: Any, z: Any) -> Array:
    match q:
        case dist.Independent():
            found = _log_prob(q.base_dist, z)
            return jnp.sum(found, axis=tuple(range(-q.reinterpreted_batch_ndims, 0)))
        case dist.ExpandedDistribution():
            found = _log_prob(q.base_dist, z)
            return jnp.broadcast_to(found, jnp.broadcast_shapes(found.shape, q.batch_shape))
        case dist.MaskedDistribution():
            return jnp.where(q._mask, _log_prob(q.base_dist, z), 0)
    if hasattr(q, "as_discrete"):
        return _log_prob(q.as_discrete(), z)
    support = support_of(q)
    if support is None:
        return _inside(q, z)
    z = jnp.asarray(z)
    mask = membership(support, z)
    found = _inside(q, moved_inside(support, z, mask))
    if mask.ndim > found.ndim:  # a distribution of events, whose support is said of their entries
        mask = jnp.all(mask, axis=tuple(range(found.ndim - mask.ndim, 0)))
    return jnp.where(mask, found, -jnp.inf)


def _inside(q: Any, z: Any) -> Array:
    """The log-density at a point that is known to lie in the support."""
    if not isinstance(q, dist.Distribution):
        return jnp.asarray(q.log_prob(z))
    found = log_or_none(q, jnp.asarray(z))
    if found is not None:
        return found
    if isinstance(q, dist.MixtureSameFamily):
        parts = _log_prob(q.component_distribution, jnp.expand_dims(z, q.mixture_dim))
        return jax.nn.logsumexp(parts + _log_weights(q), axis=-1)
    if isinstance(q, dist.MixtureGeneral):
        parts = jnp.stack([_log_prob(part, z) for part in q.component_distributions], axis=-1)
        return jax.nn.logsumexp(parts + _log_weights(q), axis=-1)
    if isinstance(q, ZeroInflatedProbs):
        if isinstance(q, ZeroInflatedLogits):
            logits: Any = q.gate_logits
            log_gate, log_rest = -jax.nn.softplus(-logits), -jax.nn.softplus(logits)
        else:
            gate: Any = q.gate
            log_gate, log_rest = log_of(gate), log_of(1 - gate)
        found = log_rest + _log_prob(q.base_dist, z)
        zero = jnp.logaddexp(log_gate, found)
        return jnp.where(jnp.asarray(z) == 0, zero, found)
    # As it is inside of `jax.jit`: a distribution that was built eagerly checks the support by
    # itself.
    distribution, z = jax.tree.map(lambda leaf: leaf, q), jnp.asarray(z)
    if z.size:
        return jnp.asarray(distribution.log_prob(z))
    # NumPyro folds axes in ways that zero rows do not bear.
    one = jax.ShapeDtypeStruct(tuple(max(size, 1) for size in z.shape), z.dtype)
    shape = jax.eval_shape(distribution.log_prob, one)
    rows = [a if a == 0 else b for a, b in zip(z.shape, shape.shape, strict=False)]
    return jnp.zeros((*rows, *shape.shape[len(rows) :]), shape.dtype)


def _log_weights(q: Any) -> Array:
    return jax.nn.log_softmax(q.mixing_distribution.logits)


def stop_gradient(q: Q) -> Q:
    """The same PyTree, with `jax.lax.stop_gradient` on each of its floating arrays.

    Raises:
        ValueError: it is no PyTree, so that its parameters cannot be reached.
    """
    require_tree(q)
    arrays, rest = eqx.partition(q, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), rest)


def require_tree(q: Any) -> None:
    """Refuse an object of parameters that cannot be reached."""
    if any(leaf is q for leaf in jax.tree.leaves(q)) and not eqx.is_array_like(q):
        raise ValueError(
            f"`q` must be a PyTree, so that its parameters can be held, and {type(q).__name__} is "
            "none: make it an `eqx.Module`, or register it with JAX."
        )


def require_reachable(q: Any, estimator: str) -> None:
    """Refuse a distribution made of functions whose arrays cannot be held.

    Raises:
        ValueError: a function in it closes over an array that may be differentiated.
    """
    for leaf in jax.tree.leaves(q):
        if any(
            isinstance(x, jax.core.Tracer) and eqx.is_inexact_array(x) for x in closed_over(leaf)
        ):
            raise ValueError(
                f"`estimator` {estimator} holds the parameters of `q`, and cannot reach those that "
                f"the function {getattr(leaf, '__name__', leaf)} closes over: write it as an "
                "`eqx.Module` with a `__call__`, or as a `jax.tree_util.Partial` of its arrays."
            )


def closed_over(leaf: Any, _seen: tuple[int, ...] = ()) -> list:
    """The leaves of what a plain function holds, those of functions in it too."""
    cells = getattr(leaf, "__closure__", None)
    if not cells or id(leaf) in _seen:
        return []
    found = []
    for cell in cells:
        try:
            held = jax.tree.leaves(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
        found += held
        for each in held:
            found += closed_over(each, (*_seen, id(leaf)))
    return found


def is_mixture(q: Any) -> bool:
    """Whether it is a mixture of NumPyro's whose components are of one family."""
    return isinstance(q, dist.MixtureSameFamily)


def is_reparameterised(q: Any) -> bool:
    """Whether gradients flow from a sample to the parameters.

    Not where `has_rsample` says that they do not, nor where a sample is not of floats, nor where
    some of its numbers, such as one column of several, are made from the parameters by steps alone,
    such as comparisons, whatever `has_rsample` says.
    """
    if not getattr(q, "has_rsample", True):
        return False
    arrays, rest = eqx.partition(q, eqx.is_array)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)
    leaves, treedef = jax.tree.flatten((shapes, rest), is_leaf=lambda x: x is None)
    if any(closed_over(leaf) for leaf in leaves):  # not to be kept, with all that it holds
        return _reparameterised.__wrapped__(tuple(leaves), treedef)
    try:
        return _reparameterised(tuple(leaves), treedef)
    except TypeError:  # something in q has no hash
        return _reparameterised.__wrapped__(tuple(leaves), treedef)


@functools.lru_cache(maxsize=1024)
def _reparameterised(leaves: tuple, treedef: Any) -> bool:
    shapes, rest = jax.tree.unflatten(treedef, leaves)

    def sample(arrays: Any) -> Any:
        return draw(eqx.combine(arrays, rest), jr.key(0))

    found = jax.tree.leaves(jax.eval_shape(sample, shapes))
    if not all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in found):
        return False
    try:
        return not loses_gradients(sample, shapes)
    except (NotImplementedError, TypeError, ValueError):
        return True  # It has no backward pass; JAX will say so of the gradient.


def require_reparameterised(q: Any, estimator: str) -> None:
    """Refuse a distribution through whose samples no gradient flows, or not through all of them.

    Args:
        q: the distribution.
        estimator: who asks, for the message.

    Raises:
        ValueError: it is one; the message says which estimators take it.
    """
    if is_reparameterised(q):
        return
    base = independent_parts(q.base if isinstance(q, Replicated) else q)
    if isinstance(q, Replicated) and is_mixture(q.base):
        fits = "draw one sample at a time, or take `ScoreFunction`"
    elif not getattr(listed(base), "has_enumerate_support", False):
        fits = "take `ScoreFunction`, or `PerSite` where its sites are several"
    else:
        fits = "take `ScoreFunction`, `Enumeration`, `GumbelSoftmax` or `Relax`"
    raise ValueError(
        f"`estimator` {estimator} needs samples that gradients flow through, and `q` is a "
        f"{type(base).__name__}, whose samples have none, or not all of them: {fits}."
    )


def listed(q: Any) -> Any:
    """What can be listed and relaxed: the distribution that q says it is, or q itself."""
    return independent_parts(q.as_discrete() if hasattr(q, "as_discrete") else q)


def independent_parts(q: Any) -> Any:
    """The distribution of each variable, where some of its batch axes were declared as the event's.

    NumPyro lists the support of a variable, and not of `Independent` ones.
    """
    while isinstance(q, dist.Independent):
        q = q.base_dist
    return q
