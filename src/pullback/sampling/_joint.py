"""Several variables of which each depends on those before it, and an estimator for each."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key, PRNGKeyArray

from pullback._key import checked_key

from ._contract import require_distribution
from ._distribution import Distribution, draw, log_prob
from ._estimator import AbstractEstimator, over_samples
from ._expectation import expectation
from ._pathwise import LogMeanExp, PathDerivative


class JointDistribution(eqx.Module):
    r"""Named sites, each drawn given those before it.

    $$ q(z_1, \dots, z_n) = \prod_i q_i(z_i \mid z_1, \dots, z_{i-1}) $$

    A sample is a dictionary of the sites' samples. It is a distribution like another: a prior, a
    posterior, with any bound and any estimator that takes its sites; `PerSite` takes one for each.

    Args:
        sites: in the order in which they are drawn, each a distribution, or a function from the
            dictionary of the samples before it to one. Where parameters are to be held, as by
            `PathDerivative`, such a function is an `eqx.Module` or a `jax.tree_util.Partial`, whose
            arrays can be reached.
        given: samples of sites that come before all of these.

    Raises:
        ValueError: there is no site, a site has the name of one that is given, or is neither a
            distribution nor a function.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> chain = JointDistribution({
        ...     "kind": dist.Bernoulli(0.3),
        ...     "place": lambda before: dist.Normal(2 * jnp.asarray(before["kind"], float), 1.0),
        ... })
        >>> z = chain.sample(jax.random.key(0))
        >>> sorted(z)
        ['kind', 'place']
        >>> print(f"{chain.log_prob({'kind': 1, 'place': 2.0}):.3f}")  # log 0.3 + log N(2; 2, 1)
        -2.123
    """

    names: tuple[str, ...] = eqx.field(static=True)
    parts: tuple[Any, ...]
    given: dict[str, Any]

    def __init__(
        self,
        sites: Mapping[str, Distribution | Callable[[dict[str, Any]], Distribution]],
        *,
        given: Mapping[str, Any] | None = None,
    ):
        # A dictionary is sorted by its keys wherever JAX maps over it; the order lies in the names.
        self.names, self.parts = tuple(sites), tuple(sites.values())
        self.given = dict(given or {})
        if not self.names:
            raise ValueError("`sites` must have at least one site, got none.")
        twice = set(self.names) & set(self.given)
        if twice:
            raise ValueError(f"`sites` has {sorted(twice)}, which `given` has already.")
        for name, part in zip(self.names, self.parts, strict=True):
            if not _is_distribution(part) and not callable(part):
                require_distribution(part, name)

    def at(self, z: Mapping[str, Any]) -> dict[str, Distribution]:
        """The distribution of each site, given the samples of those before it.

        Raises:
            ValueError: z lacks a site, or the function of one gives no distribution.
        """
        if not isinstance(z, Mapping) or set(z) != set(self.names):
            got = sorted(z) if isinstance(z, Mapping) else type(z).__name__
            raise ValueError(f"`z` must have the sites {sorted(self.names)}, got {got}.")
        found, before = {}, dict(self.given)
        for name, part in zip(self.names, self.parts, strict=True):
            found[name] = _given(name, part, before)
            before[name] = z[name]
        return found

    def depends(self, name: str) -> bool:
        """Whether a site is a function of those before it."""
        return not _is_distribution(self.parts[self.names.index(name)])

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> dict[str, Any]:
        """Draws of every site, with `sample_shape` as the first axes of each."""
        key = checked_key(key)
        one: Any = self._draw
        for _ in sample_shape:
            one = jax.vmap(one)
        return one(jr.split(key, sample_shape) if sample_shape else key)

    def _draw(self, key: Key[Array, ""]) -> dict[str, Any]:
        drawn: dict[str, Any] = {}
        for name, part, own in zip(
            self.names, self.parts, jr.split(key, len(self.names)), strict=True
        ):
            drawn[name] = draw(_given(name, part, self.given | drawn), own)
        return drawn

    def log_prob(self, value: Mapping[str, Any]) -> Float[Array, ""]:
        """The log-density of one draw of all sites."""
        first, *rest = [log_prob(q, value[name]) for name, q in self.at(value).items()]
        return sum(rest, start=first)


class PerSite(AbstractEstimator):
    r"""An estimator for each site of a `JointDistribution`, one inside the other.

    $$ \mathbb{E}_{q_1(z_1)}\Big[ \mathbb{E}_{q_2(z_2 | z_1)}\big[ \dots f(z; q) \big] \Big] $$

    Each expectation has the gradient of its own estimator: a sum over the classes of a discrete
    site, the path of a normal one. For integrands of one sample, such as those of
    `pullback.bounds.ELBO`; a weighted bound takes one estimator for all sites.

    Sites in a row that have `PathDerivative` are taken together, so that what a later one is given
    still moves with the earlier one's sample: the variance at the exact posterior is zero.

    Args:
        estimators: of each site by its name.
        draws: how many samples a site has for each one of those before it, where that is not 1, as
            for `ScoreFunction("leave_one_out")`. They share the noise of the sites after it.
            (`num_samples` of a call is the number of all that which are averaged.)

    Raises:
        ValueError: `draws` names no site or is below 1; when called, the names are not those of q's
            sites, q is no `JointDistribution`, or an estimator does not fit its site.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.sampling import Enumeration, Reparameterised
        >>> def mean(logit):
        ...     q = JointDistribution({
        ...         "kind": dist.Bernoulli(logits=logit),
        ...         "place": lambda before: dist.Normal(2 * before["kind"].astype(float), 1e-6),
        ...     })
        ...     each = PerSite({"kind": Enumeration(), "place": Reparameterised()})
        ...     key = jax.random.key(0)
        ...     return expectation(lambda z, q: z["place"], q, estimator=each, key=key)
        >>> print(f"{jax.grad(mean)(0.0):.3f}")  # of 2 sigmoid(logit)
        0.500

    Source: Schulman et al., Gradient Estimation Using Stochastic Computation Graphs, arXiv
    1506.05254.
    """

    estimators: dict[str, AbstractEstimator]
    draws: tuple[tuple[str, int], ...] = eqx.field(static=True)

    def __init__(
        self,
        estimators: Mapping[str, AbstractEstimator],
        *,
        draws: Mapping[str, int] | None = None,
    ):
        self.estimators, self.draws = dict(estimators), tuple(sorted((draws or {}).items()))
        for name, count in self.draws:
            if name not in self.estimators:
                raise ValueError(
                    f"`draws` must be of sites in `estimators`, {sorted(self.estimators)}, got "
                    f"{name!r}."
                )
            if count < 1:
                raise ValueError(f"`draws` must be 1 or more, got {count} of {name!r}.")

    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        if isinstance(f, LogMeanExp) or not isinstance(q, JointDistribution):
            raise ValueError(
                "`estimator` PerSite is for one sample of a `JointDistribution`, got a "
                f"{type(q).__name__}: with a weighted bound take one estimator for all sites, "
                "`ScoreFunction`, or `DoublyReparameterised` where gradients flow through all."
            )
        if set(self.estimators) != set(q.names):
            raise ValueError(
                f"`estimators` must be of the sites {sorted(q.names)}, got "
                f"{sorted(self.estimators)}."
            )
        whole = _Nested(f, q, self.estimators, dict(self.draws))
        one = lambda key: whole(_groups(q.names, self.estimators, self.draws), {}, {}, key)
        return jnp.mean(over_samples(one, keys, batch_size))


class _Nested(eqx.Module):
    """The expectations over the sites that are left, at samples of the others."""

    f: Callable[[Any, Any], Array]
    q: JointDistribution
    estimators: dict[str, AbstractEstimator]
    draws: dict[str, int]

    def __call__(
        self, groups: list[tuple[str, ...]], z: dict, seen: dict, key: Key[Array, ""]
    ) -> Array:
        if not groups:
            return self.f(z, JointDistribution(seen))
        names, *rest = groups
        own, later = jr.split(key)
        parts = {name: self.q.parts[self.q.names.index(name)] for name in names}
        before = self.q.given | z
        joint = len(names) > 1
        here = JointDistribution(parts, given=before) if joint else _given(
            names[0], parts[names[0]], before)  # fmt: skip

        def inside(sample: Any, q: Any) -> Array:
            new = sample if joint else {names[0]: sample}
            as_seen = q.at(sample) if joint else {names[0]: q}
            return self(rest, z | new, seen | as_seen, later)

        return expectation(
            inside, here, estimator=self.estimators[names[0]],
            num_samples=self.draws.get(names[0], 1), key=own,
        )  # fmt: skip


def _groups(names: tuple[str, ...], estimators: dict, draws: tuple) -> list[tuple[str, ...]]:
    """The sites in order, with path derivatives in a row together."""
    path = lambda name: isinstance(estimators[name], PathDerivative) and name not in dict(draws)
    groups: list[tuple[str, ...]] = []
    for name in names:
        if groups and path(name) and path(groups[-1][-1]):
            groups[-1] = (*groups[-1], name)
        else:
            groups.append((name,))
    return groups


def _given(name: str, part: Any, before: dict[str, Any]) -> Any:
    if _is_distribution(part):
        return part
    found = part(dict(before))
    require_distribution(found, name)
    return found


def _is_distribution(part: Any) -> bool:
    return all(callable(getattr(part, method, None)) for method in ("log_prob", "sample"))
