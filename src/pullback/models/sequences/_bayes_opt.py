"""Bayesian optimisation of what is costly to ask, over the codes of what can be asked about."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Real

from pullback._inputs import positive
from pullback._key import checked_key
from pullback._power_method import unit

from ._decode_many import decode_many
from ._expected_improvement import log_expected_improvement
from ._gaussian_process import GaussianProcess, believing, with_room
from ._latent_space import LatentSpace, checked_codes
from ._uphill import ascend


@dataclasses.dataclass(frozen=True)
class Trace:
    """What a search proposed and what it was told, in the order in which it was.

    Attributes:
        codes: proposed, the model's own.
        strings: what each decoded to; "" where that was nothing valid.
        scores: what the oracle said; NaN where it found no score, or there was nothing to ask.
        called: whether the oracle was asked. It is not for "", nor for what it was asked before,
            whose score is then repeated.
        rounds: of each proposal, from 0.
        means: what the process expected.
        sds: how sure it was.
        distances: Mahalanobis, from the mean of the data's codes.
    """

    codes: Float[np.ndarray, "proposals latent"]
    strings: tuple[str, ...]
    scores: Float[np.ndarray, " proposals"]
    called: Bool[np.ndarray, " proposals"]
    rounds: Int[np.ndarray, " proposals"]
    means: Float[np.ndarray, " proposals"]
    sds: Float[np.ndarray, " proposals"]
    distances: Float[np.ndarray, " proposals"]

    @property
    def calls(self) -> int:
        """How many strings the oracle was asked about."""
        return int(self.called.sum())

    def best(self, count: int = 1) -> list[tuple[str, float]]:
        """The strings of the highest scores, once each, highest first; those without none left out.

        Args:
            count: at most so many.

        Raises:
            ValueError: `count` is below 1.
        """
        positive(count=count)
        scored = np.flatnonzero(self.called & ~np.isnan(self.scores))
        order = scored[np.argsort(-self.scores[scored], kind="stable")][:count]
        return [(self.strings[n], float(self.scores[n])) for n in order]


def bayes_opt(
    decode: Callable[..., Sequence[str]],
    space: LatentSpace,
    oracle: Callable[[list[str]], Any],
    codes: Float[Array | np.ndarray, "n latent"],
    scores: Real[Array | np.ndarray, " n"],
    *,
    rounds: int = 10,
    batch: int = 10,
    starts: int = 16,
    steps: int = 20,
    step: float | int = 0.15,
    trust_radius: float | int = 3.0,
    attempts: int = 1,
    canonical: Callable[[str], str | None] | None = None,
    key: PRNGKeyArray,
) -> Trace:
    r"""Look for the strings of the highest score, where each score costs something.

    A round fits a `GaussianProcess` to all whitened codes and scores so far, takes the codes of the
    highest scores as starts, climbs from them to where the expected improvement is largest, decodes
    what it found, and asks the oracle. Of a batch each next code is chosen as if the score of the
    last were its mean ("Kriging believer"). What has no score counts as the lowest score so far, so
    that the search leaves such places.

    Args:
        decode: `decode(z, *, key) -> list of strings`, of codes `[m, latent]`.
        space: of the model's data.
        oracle: from a list of strings, which differ and are not empty, to a number for each, higher
            being better; NaN where there is none. It is called on the host, at most once a round.
        codes: where scores are known, the model's own.
        scores: those; NaN where there is none, and at least one that is a number.
        rounds: how many.
        batch: codes proposed in a round.
        starts: codes of the highest scores that are climbed from.
        steps: of each climb.
        step: the length of a step, in standard deviations.
        trust_radius: how far from its start a climb may lead, in standard deviations.
        attempts: how often a proposal is decoded. The most frequent valid string counts that has no
            score yet, for a decoder that draws gives many; if all have one, the most frequent.
        canonical: as for `decode_many`: it says for nothing what is not valid.
        key: a random key.

    Returns:
        All proposals, with every string that the oracle was asked about.

    Raises:
        ValueError: no score is a number; a code is not finite; the oracle gives another number of
            scores, or an infinite one; a number is out of its range.

    What stops a search within a round, such as an error of the oracle's own, is passed on as it is,
    with a `Trace` of the rounds before as its attribute `trace`.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> decode = lambda z, *, key: [f"{float(n):.3f}" for n in z[:, 0]]
        >>> oracle = lambda strings: [-(float(each) - 0.3) ** 2 for each in strings]
        >>> codes = jnp.array([[-1.0], [-0.5], [0.0], [1.0]])
        >>> scores = oracle(decode(codes, key=None))
        >>> trace = bayes_opt(decode, LatentSpace.from_data(codes), oracle, codes,
        ...                   np.array(scores), rounds=4, batch=2, key=jax.random.key(0))
        >>> (best, score), = trace.best()
        >>> abs(float(best) - 0.3) < 0.1, trace.calls <= 8
        (True, True)

    Source: Gómez-Bombarelli et al., arXiv 1610.02415; the believer: Ginsbourger, Le Riche and
    Carraro, Kriging is well-suited to parallelize optimization, 2010.
    """
    key = checked_key(key)
    positive(rounds=rounds, batch=batch, starts=starts, steps=steps, attempts=attempts)
    for name, value in {"step": step, "trust_radius": trust_radius}.items():
        if not 0 < value < np.inf:
            raise ValueError(f"`{name}` must be above 0 and finite, got {value}.")
    codes, scores = _known(space, codes, scores)
    # Rounded up, so that one program serves searches that start from a few codes more or fewer.
    room = -(-(len(codes) + rounds * batch) // 64) * 64
    asked: dict[str, float] = {}
    found = []
    for number, round_key in enumerate(jr.split(key, rounds)):
        try:
            start_key, decode_key = jr.split(round_key)
            filled = np.where(np.isnan(scores), np.nanmin(scores), scores)
            process = with_room(GaussianProcess.fit(space.whiten(codes), filled), room)
            # Those without a score are no place to start from.
            order = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable")
            order = np.resize(order[: min(starts, np.isfinite(scores).sum())], starts)
            # As arrays, for a plain number would be part of the program.
            numbers = len(codes), np.nanmax(scores), float(step), float(trust_radius)
            proposals, means, sds = _propose(
                process, space.whiten(codes[order]), space.scale > 0, *map(jnp.asarray, numbers),
                batch=batch, steps=steps, key=start_key,
            )  # fmt: skip
            proposals = space.unwhiten(proposals)
            candidates = decode_many(
                decode, proposals, attempts=attempts, canonical=canonical, key=decode_key
            )
            strings, called = _chosen([each.strings for each in candidates], asked)
            new = [each for each, is_new in zip(strings, called, strict=True) if is_new]
            asked |= dict(zip(new, _asked(oracle, new), strict=True))
        except BaseException as error:  # an interrupt too: what was asked so far has cost something
            _hand_over(error, _traced(found, codes.shape[1]))
            raise
        own = np.array([asked.get(each, np.nan) for each in strings])
        far = np.asarray(space.mahalanobis(proposals))
        where = np.full(batch, number)
        found.append((np.asarray(proposals), own, called, where, means, sds, far, strings))
        codes = jnp.concatenate([codes, proposals])
        scores = np.concatenate([scores, own])
    trace = _traced(found, codes.shape[1])
    if np.isnan(trace.scores).all():
        warnings.warn(
            f"none of {len(trace.scores)} proposals has a score: {trace.calls} strings were asked "
            "about. Take a smaller `trust_radius`, more `attempts`, or see what `oracle` gives.",
            stacklevel=2,
        )
    return trace


def _traced(found: list[tuple[Any, ...]], latent: int) -> Trace:
    """What the rounds found, in one."""
    if not found:
        none = np.zeros(0)
        whole, flags = none.astype(int), none.astype(bool)
        return Trace(np.zeros((0, latent)), (), none, flags, whole, none, none, none)
    *columns, strings = zip(*found, strict=True)
    codes, scores, *rest = (np.concatenate([np.asarray(c) for c in column]) for column in columns)
    return Trace(codes, tuple(each for group in strings for each in group), scores, *rest)


def _hand_over(error: BaseException, trace: Trace) -> None:
    error.add_note(
        f"`bayes_opt` was stopped in round {trace.rounds.max(initial=-1) + 1}, counted from 0: the "
        f"{len(trace.strings)} proposals of the rounds before are this error's attribute `trace`."
    )
    with contextlib.suppress(AttributeError):  # an error may have slots alone
        error.trace = trace  # pyrefly: ignore[missing-attribute]


@eqx.filter_jit
def _propose(
    process: GaussianProcess,
    centres: Float[Array, "starts latent"],
    moves: Bool[Array, " latent"],
    known: Int[Array, ""],
    best: Float[Array, ""],
    step: Float[Array, ""],
    radius: Float[Array, ""],
    *,
    batch: int,
    steps: int,
    key: PRNGKeyArray,
) -> tuple[Array, Array, Array]:
    """Codes of the largest expected improvement, one after another, and what is expected there."""
    # At a code whose score is known the slope may be zero, so a climb starts beside it.
    best, step, radius = (value.astype(centres.dtype) for value in (best, step, radius))
    aside = jnp.minimum(step, radius / 2)

    def one(carry: tuple[GaussianProcess, Array], inputs: tuple[Array, Array]) -> tuple[Any, Any]:
        (process, best), (row, key) = carry, inputs
        noise = jr.normal(key, centres.shape, centres.dtype) * moves.astype(centres.dtype)[None]
        starts = centres + aside * jax.vmap(unit)(noise, jnp.zeros_like(noise))
        value = lambda z: log_expected_improvement(process, z, best)
        path, values = ascend(value, centres, starts, steps=steps, step=step, radius=radius)
        chosen = path.reshape(-1, path.shape[-1])[jnp.argmax(values)]
        mean, sd = process.predict(chosen)
        return (believing(process, chosen, row), jnp.maximum(best, mean)), (chosen, mean, sd)

    rows = known + jnp.arange(batch)
    return jax.lax.scan(one, (process, best), (rows, jr.split(key, batch)))[1]


def _known(
    space: LatentSpace, codes: Array | np.ndarray, scores: Array | np.ndarray
) -> tuple[Array, np.ndarray]:
    checked_codes("codes", codes)
    scores = np.asarray(scores, np.float64)
    if scores.shape != (len(codes),):
        raise ValueError(
            f"`scores` must be one number a code, of which there are {len(codes)}; got the shape "
            f"{scores.shape}."
        )
    if np.isinf(scores).any():
        raise ValueError("`scores` must be numbers, got an infinite one: NaN says that none is.")
    if np.isnan(scores).all():
        raise ValueError(
            "`scores` must hold a number, got NaN alone: give codes of which some have a score."
        )
    return jnp.asarray(codes, space.mean.dtype), scores


def _chosen(
    candidates: Sequence[tuple[str, ...]], asked: dict[str, float]
) -> tuple[list[str], np.ndarray]:
    """A string for each proposal, and which of them are to be asked about."""
    strings, called, met = [], [], set(asked)
    for group in candidates:
        string = next((each for each in group if each not in met), group[0] if group else "")
        called.append(bool(string) and string not in met)
        strings.append(string)
        met.add(string)
    return strings, np.array(called)


def _asked(oracle: Callable[[list[str]], Any], strings: list[str]) -> list[float]:
    if not strings:
        return []
    told = oracle(list(strings))
    try:
        scores = np.asarray(told, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`oracle` must give one number a string, got {told!r}.") from error
    if scores.shape != (len(strings),):
        raise ValueError(
            f"`oracle` must give one number a string, {len(strings)} here; got the shape "
            f"{scores.shape}."
        )
    if np.isinf(scores).any():
        first = strings[int(np.flatnonzero(np.isinf(scores))[0])]
        raise ValueError(
            f"`oracle` gave an infinite score for {first!r}: give NaN where there is none."
        )
    return scores.tolist()
