"""How noisy the gradient of a batch is, in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PyTree, Shaped

from pullback._inputs import positive
from pullback.nn import Factors, LayerFactors


def gradient_variance(
    gradients: Factors | PyTree,
    *,
    batch_size: int,
    estimator: str = "uniform",
    replacement: bool = True,
    strata: Shaped[Array | np.ndarray, " n"] | None = None,
    snapshot: Factors | PyTree | None = None,
) -> Float[Array, ""]:
    r"""The variance of a batch's gradient around that of all examples, summed over parameters.

    $$ \mathrm{tr\,Cov}\,\hat g = \frac{1}{B} \, \frac1N \sum_i \|g_i - \bar g\|^2
       \;\text{(uniform)}, \qquad
       \frac{1}{N^2 m} \sum_k N_k \sum_{i \in k} \|g_i - \bar g_k\|^2
       \;\text{(stratified, } m = B / k \text{ of each)} $$

    and of SVRG, $g_i(w) - g_i(\tilde w) + \bar g(\tilde w)$, that of the differences $g_i(w) -
    g_i(\tilde w)$. Exact: nothing is drawn. All estimators are compared at the same weights.

    Args:
        gradients: of all n examples: of `pullback.nn.layer_factors`, or a PyTree of arrays with a
            leading axis n.
        batch_size: B.
        estimator: how a batch is drawn and used: each example of all; as many of each stratum, with
            the weights of `pullback.optim.stratified_batch`, whose product of all pairs takes n
            squared numbers; each of all, less its gradient at a snapshot.
        replacement: whether an example may come twice. Without, the variance is less by the factor
            (N - B) / (N - 1). Strata are drawn from with replacement.
        strata: the stratum of each example: `Clustering.assignment`, classes, any whole numbers.
        snapshot: the gradients of the same examples at the snapshot.

    Returns:
        The variance. Of single precision a ten-millionth of the mean squared norm is lost to
        rounding.

    Raises:
        ValueError: a batch is empty, larger than all examples without replacement, or has not as
            many of each stratum; an argument is missing or one too many; a gradient is not finite.
            Where the call is being compiled, the answer is NaN for what depends on values.

    Example:
        >>> import jax.numpy as jnp
        >>> gradients = jnp.asarray([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
        >>> gradient_variance(gradients, batch_size=2).item()
        1.25
        >>> strata = jnp.asarray([0, 0, 1, 1])
        >>> gradient_variance(
        ...     gradients, batch_size=2, estimator="stratified", strata=strata).item()
        0.25

    Source: Faghri et al., A Study of Gradient Variance in Deep Learning, arXiv 2007.04532.
    """
    factors = Factors.of(gradients)
    n = factors.losses.shape[0]
    _check_batch(batch_size, n, replacement)
    needs = {"strata": "stratified", "snapshot": "svrg"}
    if estimator not in ("uniform", *needs.values()):
        raise ValueError(
            f"`estimator` must be 'uniform', 'stratified' or 'svrg', got {estimator!r}."
        )
    for name, given in {"strata": strata, "snapshot": snapshot}.items():
        if (given is None) == (estimator == needs[name]):
            raise ValueError(
                f"`{name}` belongs to estimator={needs[name]!r}, which needs it; got "
                f"estimator={estimator!r} and {'none' if given is None else 'one'}."
            )
    if strata is not None:
        if not replacement:
            raise ValueError("strata are drawn from with replacement: leave `replacement` True.")
        return _of_strata(factors, jnp.asarray(strata), batch_size)
    if snapshot is not None:
        factors = _difference(factors, Factors.of(snapshot))
    value = _trace(factors) / batch_size
    return _finite(value if replacement else value * ((n - batch_size) / max(n - 1, 1)))


def normalised_variance(
    gradients: Factors | PyTree,
    *,
    batch_size: int,
    replacement: bool = True,
    per_coordinate: bool = False,
) -> Float[Array, ""]:
    r"""The noise of a batch's gradient over its signal.

    $$ \frac{\mathrm{tr\,Cov}\,\hat g}{\|\bar g\|^2}, \qquad\text{or}\qquad
       \frac1P \sum_j \frac{\mathrm{Var}\,\hat g_j}{\mathrm E[\hat g_j^2] + 10^{-7}} $$

    The first is the noise scale over the batch's size; above 1 noise dominates. The second, of each
    parameter by itself, is between 0 and 1. The first is the same when the loss is multiplied by a
    number; the second falls where slopes come near the root of $10^{-7}$.

    Args:
        gradients: as for `gradient_variance`.
        batch_size: examples of a batch, drawn uniformly.
        replacement: whether an example may come twice.
        per_coordinate: the second.

    Raises:
        ValueError: as for `gradient_variance`; or all gradients are zero, of which there is no
            ratio: NaN where the call is being compiled.

    Example:
        >>> import jax.numpy as jnp
        >>> gradients = jnp.asarray([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
        >>> f"{normalised_variance(gradients, batch_size=2):.3f}"
        '0.625'

    Source: Faghri et al., A Study of Gradient Variance in Deep Learning, arXiv 2007.04532;
        the second as its code measures it.
    """
    factors = Factors.of(gradients)
    n = factors.losses.shape[0]
    _check_batch(batch_size, n, replacement)
    share = 1 / batch_size if replacement else (n - batch_size) / (max(n - 1, 1) * batch_size)
    if per_coordinate:
        return _finite(_by_coordinate(factors, share))
    noise, signal = _finite(_trace(factors)) * share, _signal(factors)
    if not isinstance(signal, Tracer) and noise == 0 and signal == 0:
        raise ValueError("all gradients are zero, so that there is no noise and no signal.")
    return noise / signal


def _check_batch(batch_size: int, n: int, replacement: bool) -> None:
    positive(batch_size=batch_size)
    if not replacement and batch_size > n:
        raise ValueError(
            f"`batch_size` must be at most the number of examples, {n}, without replacement; got "
            f"{batch_size}."
        )


def _finite(value: Float[Array, ""]) -> Float[Array, ""]:
    if not isinstance(value, Tracer) and not bool(jnp.isfinite(value)):
        raise ValueError("gradients of some examples are not finite: look at their norms.")
    return value


@eqx.filter_jit
def _trace(factors: Factors) -> Float[Array, ""]:
    """The trace of the covariance: of one example, drawn uniformly."""
    layers = list(factors.layers.values())
    square = lambda layer: sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(layer.gradient()))
    parts = [layer.squared_norms().mean() - square(layer) for layer in layers]
    # What lies there whole is centred first: squares of a large mean leave no digits to the rest.
    parts += [jnp.square(leaf - leaf.mean(axis=0)[None]).sum() / len(leaf)
              for leaf in factors.others.values()]  # fmt: skip
    return jnp.maximum(sum(parts), 0)


@eqx.filter_jit
def _signal(factors: Factors) -> Float[Array, ""]:
    """The square of the mean gradient."""
    return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(factors.gradient()))  # type: ignore[return-value]


@eqx.filter_jit
def _by_coordinate(factors: Factors, share: float) -> Float[Array, ""]:
    def bounded(squares: Array, mean: Array) -> Array:
        signal = jnp.square(mean)
        noise = share * jnp.maximum(squares - signal, 0)
        return (noise / (noise + signal + 1e-7)).sum()

    means = factors.gradient()
    summed = jax.tree.leaves(jax.tree.map(bounded, factors.squares(), means))
    return jnp.stack(summed).sum() / sum(leaf.size for leaf in jax.tree.leaves(means))


def _of_strata(factors: Factors, strata: Shaped[Array, " m"], batch_size: int) -> Float[Array, ""]:
    n = factors.losses.shape[0]
    if strata.shape != (n,) or not jnp.issubdtype(strata.dtype, jnp.integer):
        raise ValueError(
            f"`strata` must be a whole number for each of the {n} examples; got {strata.dtype} of "
            f"the shape {strata.shape}."
        )
    value, count = _within(factors, strata)
    if isinstance(count, Tracer):
        per_stratum = batch_size / count.astype(value.dtype)
        return jnp.where(batch_size % count == 0, value / per_stratum, jnp.nan)
    if batch_size % int(count):
        raise ValueError(
            f"`batch_size` must be a multiple of the {int(count)} strata, got {batch_size}."
        )
    return _finite(value / (batch_size // int(count)))


@eqx.filter_jit
def _within(factors: Factors, strata: Int[Array, " n"]) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """The variance with one example of each stratum, and how many strata there are."""
    gram = factors.gram()
    same = (strata[:, None] == strata[None]).astype(gram.dtype)
    # Twice the sum over strata of N_k times their distortion is over all pairs of |g_i - g_j|^2.
    squares = jnp.diagonal(gram)
    apart = squares[:, None] + squares[None] - 2 * gram
    ordered = jnp.sort(strata)
    count = 1 + (ordered[1:] != ordered[:-1]).sum()
    return (same * jnp.maximum(apart, 0)).sum() / (2 * len(strata) ** 2), count


def _difference(now: Factors, before: Factors) -> Factors:
    """Factors of each example's difference: of a layer as if it stood at twice the positions."""
    shapes = lambda factors: jax.tree.map(jnp.shape, factors.parts)
    if shapes(now) != shapes(before):
        raise ValueError(
            "`snapshot` must be the gradients of the same examples by the same parameters, and as "
            "`gradients` either factors or arrays."
        )
    is_layer = lambda node: isinstance(node, LayerFactors)

    def part(a: PyTree, b: PyTree) -> PyTree:
        if not is_layer(a):
            return a - b
        signals = _positions(a.signal), -_positions(b.signal)
        inputs = _positions(a.input), _positions(b.input)
        join = lambda parts: jnp.concatenate(parts, axis=1)
        return LayerFactors(join(inputs), join(signals), a.layer)

    return Factors(
        now.losses - before.losses, jax.tree.map(part, now.parts, before.parts, is_leaf=is_layer)
    )


def _positions(part: Float[Array, "n *positions i"]) -> Float[Array, "n t i"]:
    return part[:, None] if part.ndim == 2 else part
