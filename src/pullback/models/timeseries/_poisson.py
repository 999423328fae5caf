"""When observations happen: a Poisson process whose intensity follows an ODE."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Real

from pullback import ode
from pullback._checked_data import checked_by
from pullback._key import checked_key
from pullback._times import refuse_dates

from ._dynamics import TanhField, positive
from ._observations import Observations, check_observations


class SoftplusRate(eqx.Module):
    r"""An intensity that cannot explode: $\lambda = \mathrm{softplus}(\mathrm{MLP}(z))$.

    Args:
        latent: size of the state.
        variables: kinds of events.
        width: of the hidden layer.
        scale: a typical intensity, in events per unit of time, in which the net counts.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> rate = SoftplusRate(2, 1, key=jax.random.key(0))
        >>> bool(rate(jnp.zeros(2))[0] > 0)
        True
    """

    net: eqx.nn.MLP
    scale: float = eqx.field(static=True)

    def __init__(
        self,
        latent: int,
        variables: int,
        *,
        width: int = 32,
        scale: float = 1.0,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(latent=latent, variables=variables, width=width)
        if not scale > 0:
            raise ValueError(f"`scale` must be positive, got {scale}.")
        self.net = eqx.nn.MLP(latent, variables, width, 1, jnp.tanh, dtype=dtype, key=key)
        self.scale = scale

    def __call__(self, z: Float[Array, " latent"]) -> Float[Array, " variables"]:
        """Events per unit of time, of each kind."""
        return self.scale * jax.nn.softplus(self.net(z))


class PoissonHead(eqx.Module):
    r"""An intensity that follows an ODE of its own, and its integral as one more state.

    $$ \frac{dz_\lambda}{dt} = f_\lambda(z_\lambda), \qquad
       \frac{d\Lambda}{dt} = \lambda = g_\lambda(z_\lambda), \qquad \Lambda(t_0) = 0 $$

    Attributes:
        field: $f_\lambda$, called as `field(t, z, args)`.
        rate: from $z_\lambda$ to a positive intensity for each variable, such as `SoftplusRate`.
        latent: size of $z_\lambda$.

    Example:
        >>> import jax.numpy as jnp
        >>> head = PoissonHead(lambda t, z, args: -z, lambda z: 3 * z, 1)
        >>> intensity = head.solve(jnp.array([[1.0]]), jnp.array([[0.0, 2.0]]), rtol=1e-6)
        >>> print(f"{intensity.integral[0, -1, 0]:.3f}")  # 3 (1 - exp(-2))
        2.594

    Source: Rubanova et al., arXiv 1907.03907, section 3.3. There $\lambda = \exp$ of a net, which
    may explode.
    """

    field: Callable[[Array, PyTree, PyTree], PyTree]
    rate: Callable[[Array], Array]
    latent: int = eqx.field(static=True)

    def solve(
        self,
        start: Float[Array, "batch latent"],
        times: Real[Array | np.ndarray, "batch time"],
        *,
        solver: diffrax.AbstractSolver | None = None,
        rtol: float = 1e-4,
        atol: float = 1e-6,
    ) -> "Intensity":
        """The intensity along each row of `times`, from states at its first entry.

        Args:
            start: the state at the first time of each row.
            times: increasing along each row.
            solver: as in `pb.ode.solve`.
            rtol: as in `pb.ode.solve`.
            atol: as in `pb.ode.solve`.
        """

        def derivative(t: Array, state: tuple[Array, Array], args: None) -> tuple[Array, Array]:
            z, _ = state
            return self.field(t, z, None), self.rate(z)

        one = jax.ShapeDtypeStruct(start.shape[1:], start.dtype)
        size = jax.eval_shape(self.rate, one).shape[0]
        solution = ode.solve(
            derivative,
            (start, jnp.zeros((start.shape[0], size), start.dtype)),
            times,
            solver=solver,
            rtol=rtol,
            atol=atol,
            stepping="per_sample",
            throw=False,
        )
        z, integral = solution.ys
        return Intensity(jax.vmap(jax.vmap(self.rate))(z), integral, solution.result)


class Intensity(NamedTuple):
    """An intensity along times.

    Attributes:
        rate: events per unit of time, `[batch, time, variables]`.
        integral: expected events since the first time, `[batch, time, variables]`.
        result: how each solve ended, a code of `pb.ode.Result`; `[batch]`.
    """

    rate: Float[Array, "batch time variables"]
    integral: Float[Array, "batch time variables"]
    result: Array


def poisson_log_prob(
    rate: Float[Array, "*batch time variables"],
    integral: Float[Array, "*batch time variables"],
    mask: Bool[Array | np.ndarray, "*batch time variables"],
) -> Float[Array, "*batch"]:
    r"""The log-likelihood of when events happened, in the window from the first to the last time.

    $$ \log p = \sum_{i,d} m_{id} \log \lambda_d(t_i)
       - \sum_d \big( \Lambda_d(t_T) - \Lambda_d(t_1) \big) $$

    The window matters: that nothing happened after the last event is information, too. Put the
    window's ends among the times, with nothing observed there.

    Args:
        rate: at each time.
        integral: of the rate, from any one time on.
        mask: True where an event of that variable happened.

    Returns:
        Nats.

    Example:
        >>> import jax.numpy as jnp
        >>> rate = jnp.full((3, 1), 2.0)
        >>> integral = jnp.array([[0.0], [1.0], [2.0]])  # a window of one unit of time
        >>> print(f"{poisson_log_prob(rate, integral, jnp.array([[False], [True], [False]])):.4f}")
        -1.3069

    Source: Rubanova et al., arXiv 1907.03907, equation 6.
    """
    if not rate.shape == integral.shape == mask.shape:
        raise ValueError(
            "rate, integral and mask must have one shape, [..., time, variable], got "
            f"{list(rate.shape)}, {list(integral.shape)} and {list(mask.shape)}"
        )
    # Where nothing happened the rate does not matter, not even if it is 0.
    log_rate = jnp.log(jnp.where(mask, rate, 1.0))
    expected = integral[..., -1, :] - integral[..., 0, :]
    return jnp.sum(log_rate, axis=(-2, -1)) - jnp.sum(expected, axis=-1)


class PoissonProcess(eqx.Module):
    r"""A Poisson process that many series share, with a learned intensity.

    The intensity of a `PoissonHead` from a learned state $z_\lambda(t_0)$.

    Args:
        variables: kinds of events.
        t0: the time of the learned state; no window may begin before it.
        latent: size of the state.
        width: of the hidden layers.
        scale: a typical intensity, in events per unit of time.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> process = PoissonProcess(1, key=jax.random.key(0))
        >>> times = jnp.array([[0.0, 0.4, 1.0]])
        >>> log_prob, _ = process.log_prob(times, jnp.array([[[False], [True], [False]]]))
        >>> log_prob.shape
        (1,)

    Source: Rubanova et al., arXiv 1907.03907, section 3.3.
    """

    head: PoissonHead
    start: Float[Array, " latent"]
    t0: float = eqx.field(static=True)

    def __init__(
        self,
        variables: int,
        *,
        t0: float = 0.0,
        latent: int = 4,
        width: int = 32,
        scale: float = 1.0,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        field_key, rate_key, start_key = jr.split(checked_key(key), 3)
        self.head = PoissonHead(
            TanhField(latent, width=width, dtype=dtype, key=field_key),
            SoftplusRate(latent, variables, width=width, scale=scale, dtype=dtype, key=rate_key),
            latent,
        )
        self.start = jr.normal(start_key, (latent,), dtype)
        self.t0 = t0

    def intensity(self, times: Real[Array | np.ndarray, "batch time"]) -> Intensity:
        """The intensity along each row of `times`; its integral is from `t0` on."""
        start = jnp.broadcast_to(self.start[None], (times.shape[0], self.start.shape[0]))
        found = self.head.solve(start, self._from_t0(times))
        return Intensity(found.rate[:, 1:], found.integral[:, 1:], found.result)

    def _from_t0(self, times: Real[Array | np.ndarray, "batch time"]) -> Array | np.ndarray:
        """`times` after `t0`: NumPy's in float64, in which seconds since 1970 stay apart."""
        if times.ndim != 2:
            raise ValueError(f"times must have shape [batch, time], got {list(times.shape)}")
        if isinstance(times, np.ndarray):
            refuse_dates("times", times)
            if times.size and times.min() < self.t0:
                raise ValueError(
                    f"no window may begin before t0={self.t0}, and one has the time {times.min()}: "
                    "make the process with an earlier t0"
                )
            return np.pad(times.astype(np.float64), ((0, 0), (1, 0)), constant_values=self.t0)
        if not jnp.issubdtype(times.dtype, jnp.floating):
            times = times.astype(float)
        return jnp.concatenate([jnp.full_like(times, self.t0, shape=(len(times), 1)), times], 1)

    def log_prob(
        self,
        times: Real[Array | np.ndarray, "batch time"],
        mask: Bool[Array | np.ndarray, "batch time variables"],
    ) -> tuple[Float[Array, " batch"], Array]:
        """The log-likelihood of each row's events in nats, and how its solve ended."""
        found = self.intensity(times)
        return poisson_log_prob(found.rate, found.integral, mask), found.result


@checked_by(check_observations)
def event_loss(
    process: PoissonProcess, batch: Observations, *, key: PRNGKeyArray
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""The mean negative log-likelihood of when a series' events happened, for `pb.train.fit`.

    $$ L = -\frac1n \sum_i \Big( \sum_j \log \lambda(t_{ij}) - \Lambda(T) \Big) $$

    Args:
        process: with the intensity to learn.
        batch: an event is an entry with a true mask; values are not looked at.
        key: not used.

    Returns:
        The loss in nats a series, and the metric `result` (see `pb.train.fit`).

    Source: Rubanova et al., arXiv 1907.03907, equation 6.
    """
    key = checked_key(key)
    log_prob, result = process.log_prob(batch.times, batch.mask)
    return -jnp.mean(log_prob), {"result": jnp.max(result)}
