"""A hidden Markov model of two states and two yes-or-no features, all of which can be counted."""

import itertools
from collections import defaultdict

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pullback.analysis.explain import step_predictor

FIRST = np.array([0.6, 0.4])
MOVES = np.array([[0.85, 0.15], [0.25, 0.75]])
HEARD = np.array([[0.9, 0.3], [0.2, 0.55]])  # P(x_i = 1 | s)
SAID = np.array([[[0.1, 0.7], [0.35, 0.2]], [[0.95, 0.4], [0.6, 0.85]]])  # P(y = 1 | s, x)
VALUES = np.array(list(itertools.product([0.0, 1.0], repeat=2)))
TIMES = 3
SERIES = np.array(list(itertools.product(VALUES, repeat=TIMES)))  # [64, 3, 2]
SUBSETS = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], bool)


class Law(eqx.Module):
    """The exact generator: its state is the law of the next hidden state."""

    heard: jax.Array
    moves: jax.Array

    def start(self):
        return jnp.asarray(FIRST, self.heard.dtype)

    def likelihood(self, x):
        """Of each state, by what was observed."""
        x = jnp.broadcast_to(x, (2, 2))
        each = jnp.where(x == 1, self.heard, 1 - self.heard)
        return jnp.prod(jnp.where(jnp.isnan(x), 1, each), axis=1)

    def step(self, state, x):
        after = state * self.likelihood(x)
        return jnp.sum((after / jnp.sum(after))[:, None] * self.moves, axis=0)

    def weights(self, state, x, keep):
        """P(x = v | the past, the kept features) for all four v, and zero where v differs there."""
        values = jnp.asarray(VALUES, self.heard.dtype)
        joint = jax.vmap(self.likelihood)(values) @ state
        known = keep & ~jnp.isnan(x)
        joint = jnp.where(jnp.all(~known[None] | (values == x[None]), axis=1), joint, 0)
        return joint / jnp.sum(joint)

    def sample(self, state, x, keep, *, key):
        weights = self.weights(state, x, keep)
        return jnp.asarray(VALUES, weights.dtype)[jax.random.choice(key, 4, p=weights)]


def law(dtype=jnp.float64):
    return Law(jnp.asarray(HEARD, dtype), jnp.asarray(MOVES, dtype))


def forecast(generator, kind="categorical"):
    """The exact predictor of y_t: P(y_t | X_0, ..., X_t)."""
    said = jnp.asarray(SAID, generator.heard.dtype)

    def step(state, x):
        after = state * generator.likelihood(x)
        after = after / jnp.sum(after)
        # What was not observed of x is averaged over, as it is of y's law.
        full = jnp.asarray(VALUES, said.dtype)
        fits = jnp.all(jnp.isnan(x)[None] | (full == x[None]), axis=1)
        cells = jnp.where(fits[:, None], jax.vmap(generator.likelihood)(full), 0)
        cells = cells / jnp.sum(cells, axis=0)[None]
        yes = jnp.sum(after * jnp.sum(cells.T * said.reshape(2, 4), axis=1))
        found = yes[None] if kind == "multilabel" else jnp.stack([yes, 1 - yes])
        return jnp.sum(after[:, None] * generator.moves, axis=0), found

    return step_predictor(generator.start, step, outputs="probabilities", kind=kind)


def joint(t):
    """P(X = SERIES[n], y_t), by all paths of hidden states and nothing else."""
    table = np.zeros((len(SERIES), 2))
    for n, series in enumerate(SERIES):
        for path in itertools.product([0, 1], repeat=TIMES):
            p = FIRST[path[0]]
            for before, after in itertools.pairwise(path):
                p *= MOVES[before, after]
            for s, x in zip(path, series, strict=True):
                p *= np.prod(np.where(x == 1, HEARD[s], 1 - HEARD[s]))
            yes = SAID[path[t]][tuple(series[t].astype(int))]
            table[n] += p * np.array([1 - yes, yes])
    return table


def information(t, subset, seen):
    """I(y_t; x_S | the past) for every past: by the past of each series. `seen` was observed."""
    table = joint(t)
    cells = lambda n, mask: tuple(SERIES[n][mask])
    now, before = np.zeros_like(seen), seen.copy()
    now[t] = seen[t] & subset
    before[t:] = False
    both, past = defaultdict(lambda: np.zeros(2)), defaultdict(lambda: np.zeros(2))
    for n in range(len(SERIES)):
        both[cells(n, before), cells(n, now)] += table[n]
        past[cells(n, before)] += table[n]
    found = defaultdict(float)
    for (old, _), p in both.items():
        law, marginal = p / p.sum(), past[old] / past[old].sum()
        found[old] += p.sum() / past[old].sum() * np.sum(law * np.log(law / marginal))
    return np.array([found[cells(n, before)] for n in range(len(SERIES))])
