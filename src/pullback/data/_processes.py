"""Synthetic irregular series whose truth is known."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pullback.data._irregular import IrregularSeries


class SyntheticSeries(NamedTuple):
    """Noisy and partly observed series, with the truth on the same grid.

    Attributes:
        observed: what a model may see.
        clean: every value at every time of the grid, without noise.
    """

    observed: IrregularSeries
    clean: IrregularSeries


def sinusoids(
    n: int = 1000,
    *,
    points: int = 100,
    stop: float = 5.0,
    frequency: tuple[float, float] = (0.5, 1.0),
    offset: float = 0.1,
    noise: float = 0.0,
    kept: float = 1.0,
    seed: int = 0,
) -> SyntheticSeries:
    r"""Sinusoids of random frequency and phase, of which a share is observed.

    $$x(t) = \sin(2\pi f t + \varphi) + c, \qquad f \sim U[f_0, f_1],\;
    \varphi \sim U[0, 2\pi),\; c \sim N(0, \text{offset}^2)$$

    Args:
        n: the number of series.
        points: times in each, at equal distances from 0 to `stop`.
        stop: the last time.
        frequency: the least and the greatest, in turns per unit of time.
        offset: standard deviation of what is added to a whole series.
        noise: standard deviation of the Gaussian noise on each observation.
        kept: the share of the times that are observed, drawn for each series, in (0, 1].
        seed: of the draw.

    Returns:
        Both on the whole grid, so that what was not observed can be scored.

    Raises:
        ValueError: an argument is out of its range; the message says which.

    Example:
        >>> series = sinusoids(3, kept=0.2)
        >>> series.observed.counts, series.clean.values.shape
        (array([20, 20, 20]), (3, 100, 1))

    Source: Rubanova et al., arXiv 1907.03907, section 4.1.
    """
    _check_counts(n=n, points=points)
    _check_positive(stop=stop)
    _check_not_negative(offset=offset, noise=noise)
    if not 0 < kept <= 1:
        raise ValueError(f"`kept` must be in (0, 1], got {kept}.")
    generator = np.random.default_rng(seed)
    times = np.linspace(0.0, stop, points)
    turns = generator.uniform(*frequency, size=(n, 1))
    phase = generator.uniform(0.0, 2 * np.pi, size=(n, 1))
    level = offset * generator.normal(size=(n, 1))
    clean = np.sin(2 * np.pi * turns * times[None, :] + phase) + level
    series = _synthetic(times, clean[:, :, None], noise, generator)
    if kept == 1:
        return series
    shown, _ = series.observed.hold_out(kept, whole_times=True, seed=int(generator.integers(2**31)))
    return series._replace(observed=shown)


def cosine_points(
    segments: Sequence[tuple[float, float]] = ((0.3, 0.8), (1.2, 1.5)),
    *,
    points: int = 10,
    noise: float = 0.0,
    seed: int = 0,
) -> SyntheticSeries:
    r"""One series, $x(t) = \cos 2\pi t$, observed on two pieces of the line and not between them.

    Args:
        segments: the first and the last time of each piece, which must not touch.
        points: times at equal distances on each.
        noise: standard deviation of the Gaussian noise on each observation.
        seed: of the noise.

    Returns:
        One series of one variable.

    Raises:
        ValueError: the pieces are not in order, or an argument is out of its range.

    Example:
        >>> cosine_points().observed.values.shape
        (1, 20, 1)

    Source: `examples/latent_sde.py` in torchsde, the code of Li et al., arXiv 2001.01328.
    """
    _check_counts(points=points)
    _check_not_negative(noise=noise)
    times = np.concatenate([np.linspace(first, last, points) for first, last in segments])
    _check_grid(times)
    clean = np.cos(2 * np.pi * times)[None, :, None]
    return _synthetic(times, clean, noise, np.random.default_rng(seed))


def ornstein_uhlenbeck(
    n: int,
    times: Float[np.ndarray, " time"],
    *,
    theta: float = 1.0,
    mean: float = 0.0,
    sigma: float = 0.5,
    start: float | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> SyntheticSeries:
    r"""The Ornstein-Uhlenbeck process, drawn from its exact transitions.

    $$dZ = \theta(\mu - Z)\,dt + \sigma\,dW, \qquad
    Z_t \mid Z_s \sim N\!\left(\mu + (Z_s - \mu) e^{-\theta(t - s)},\;
    \tfrac{\sigma^2}{2\theta}(1 - e^{-2\theta(t - s)})\right)$$

    Args:
        n: the number of series.
        times: increasing, `[time]`.
        theta: the rate of return.
        mean: what it returns to.
        sigma: of the noise that drives it.
        start: its value at the first time. None: drawn from the stationary distribution.
        noise: standard deviation of the Gaussian noise on each observation.
        seed: of the draw.

    Returns:
        Series of one variable; `clean` is the path itself.

    Raises:
        ValueError: `times` do not increase, or another argument is out of its range.

    Example:
        >>> import numpy as np
        >>> ornstein_uhlenbeck(2, np.array([0.2, 0.4, 1.6])).clean.values.shape
        (2, 3, 1)

    Source: Gillespie, Phys. Rev. E 54 (1996); the prior of `examples/latent_sde.py` in torchsde.
    """
    _check_counts(n=n)
    _check_grid(times)
    _check_positive(theta=theta)
    _check_not_negative(sigma=sigma, noise=noise)
    generator = np.random.default_rng(seed)
    stationary = sigma / np.sqrt(2 * theta)
    draws = generator.normal(size=(len(times), n))
    path = np.empty((len(times), n))
    path[0] = mean + stationary * draws[0] if start is None else start
    for k, gap in enumerate(np.diff(times)):
        spread = stationary * np.sqrt(-np.expm1(-2 * theta * gap))
        path[k + 1] = mean + (path[k] - mean) * np.exp(-theta * gap) + spread * draws[k + 1]
    return _synthetic(np.asarray(times, np.float64), path.T[:, :, None], noise, generator)


def stochastic_lorenz(
    n: int = 1024,
    times: Float[np.ndarray, " time"] | None = None,
    *,
    sigma: float = 10.0,
    rho: float = 28.0,
    beta: float = 8 / 3,
    diffusion: tuple[float, float, float] = (0.15, 0.15, 0.15),
    multiplicative: bool = False,
    noise: float = 0.01,
    max_step: float = 1e-3,
    seed: int = 0,
) -> SyntheticSeries:
    r"""Lorenz's system driven by noise, from a standard normal start at the first time.

    $$dx = \sigma(y - x)\,dt + g_1 dW_1, \quad dy = (x(\rho - z) - y)\,dt + g_2 dW_2, \quad
    dz = (xy - \beta z)\,dt + g_3 dW_3$$

    with $g = \alpha$, or in the Itô sense $g = (\alpha_1 x, \alpha_2 y, \alpha_3 z)$.

    Args:
        n: the number of series.
        times: increasing, `[time]`. None: 41 times at a distance of 0.025, from 0 to 1.
        sigma: of the drift.
        rho: of the drift.
        beta: of the drift.
        diffusion: $\alpha$.
        multiplicative: the noise grows with the state.
        noise: standard deviation of the noise on each observation, as a share of the standard
            deviation of the variable over all series and times.
        max_step: the longest step of the Euler-Maruyama method that draws the paths.
        seed: of the draw.

    Returns:
        Series of three variables; `clean` is the path itself.

    Raises:
        ValueError: `times` do not increase, or another argument is out of its range.

    Example:
        >>> import numpy as np
        >>> stochastic_lorenz(4, np.linspace(0.0, 0.1, 5)).observed.values.shape
        (4, 5, 3)

    Source: Li et al., arXiv 2001.01328, section 7.2; with `multiplicative`, `diffusion` (0.1, 0.28,
    0.3) and 100 times from 0 to 2 that of `examples/latent_sde_lorenz.py` in torchsde.
    """
    times = np.linspace(0.0, 1.0, 41) if times is None else times
    _check_counts(n=n)
    _check_grid(times)
    _check_positive(max_step=max_step)
    _check_not_negative(noise=noise, **{f"diffusion[{k}]": a for k, a in enumerate(diffusion)})
    generator = np.random.default_rng(seed)
    alpha = np.array(diffusion)[:, None]
    state = generator.normal(size=(3, n))
    path = np.empty((len(times), 3, n))
    path[0] = state
    for k, gap in enumerate(np.diff(times)):
        # Without the margin, rounding gives a gap of 25 steps a 26th.
        steps = max(1, int(np.ceil(gap / max_step - 1e-9)))
        for _ in range(steps):
            x, y, z = state
            drift = np.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])
            size = alpha * state if multiplicative else alpha
            shock = np.sqrt(gap / steps) * generator.normal(size=state.shape)
            state = state + drift * (gap / steps) + size * shock
        path[k + 1] = state
    clean = path.transpose(2, 0, 1)
    return _synthetic(np.asarray(times), clean, noise * clean.std(axis=(0, 1)), generator, "xyz")


def poisson_events(
    rate: Callable[[Float[np.ndarray, " candidates"]], Float[np.ndarray, " candidates"]],
    bound: float,
    stop: float,
    n: int,
    *,
    seed: int = 0,
) -> list[Float[np.ndarray, " events"]]:
    r"""Event times of a Poisson process with a known intensity, by thinning.

    Candidates come at the constant rate `bound`, and one at $t$ stays with the probability
    $\lambda(t) / \text{bound}$. The number of events is Poisson with the mean $\int_0^T\lambda$.

    Args:
        rate: $\lambda$, of an array of times.
        bound: a number that `rate` never exceeds.
        stop: $T$; events fall in [0, T).
        n: the number of series.
        seed: of the draw.

    Returns:
        For each series its event times, increasing; there may be none.

    Raises:
        ValueError: `rate` is negative, above `bound` or not finite at a candidate; or another
            argument is out of its range.

    Example:
        >>> import numpy as np
        >>> events = poisson_events(lambda t: 3 + np.sin(t), 4.0, 10.0, n=2)
        >>> [len(times) for times in events]
        [27, 21]

    Source: Lewis and Shedler, Naval Research Logistics Quarterly 26 (1979).
    """
    _check_counts(n=n)
    _check_positive(bound=bound, stop=stop)
    generator = np.random.default_rng(seed)
    count = generator.poisson(bound * stop, size=n)
    times = generator.uniform(0.0, stop, size=count.sum())
    chance = np.asarray(rate(times), np.float64)
    if chance.shape != times.shape:
        raise ValueError(f"`rate` must return shape {times.shape}, got {chance.shape}.")
    wrong = ~((chance >= 0) & (chance <= bound))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"`rate` must be in [0, {bound}], the bound; it is {chance[first]} at the time "
            f"{times[first]}."
        )
    stays = generator.uniform(0.0, bound, size=len(times)) < chance
    series = np.split(np.arange(len(times)), np.cumsum(count)[:-1])
    return [np.sort(times[places][stays[places]]) for places in series]


def _synthetic(
    times: Float[np.ndarray, " time"],
    clean: Float[np.ndarray, "series time variable"],
    noise: float | Float[np.ndarray, " variable"],
    generator: np.random.Generator,
    names: str = "x",
) -> SyntheticSeries:
    n, _, size = clean.shape
    truth = IrregularSeries(
        times=np.tile(times, (n, 1)),
        values=clean,
        mask=np.ones(clean.shape, bool),
        ids=tuple(map(str, range(n))),
        variables=tuple(names),
        units=("",) * size,
        time_unit="",
        targets=None,
    )
    noisy = clean + noise * generator.normal(size=clean.shape)
    return SyntheticSeries(truth._replace(values=noisy), truth)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"`{name}` must be at least 1, got {count}.")


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not 0 < number < np.inf:
            raise ValueError(f"`{name}` must be positive and finite, got {number}.")


def _check_not_negative(**numbers: float) -> None:
    for name, number in numbers.items():
        if not 0 <= number < np.inf:
            raise ValueError(f"`{name}` must be finite and not negative, got {number}.")


def _check_grid(times: Float[np.ndarray, " time"]) -> None:
    if not len(times) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise ValueError(f"the times must be finite and increase, got {times}.")
