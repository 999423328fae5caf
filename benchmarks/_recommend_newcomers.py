"""A thousand newcomers: evidence chains and ALS by a forward pass, implicit's fold-in, a refit."""

import time
from typing import Any

import equinox as eqx
import implicit
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.sparse as sp
import surprise

from _harness import markdown_table, race
from pullback.data import Ratings
from pullback.models.recommenders import fit_als, fit_biases, fit_evidence_chains

PACKAGES = ("pullback", "jax", "equinox", "scikit-surprise", "implicit")
USERS, ITEMS, NEW, SHOWN, STEPS = 943, 1682, 1000, 10, 200
CHAINS, ALS, BIASES = "evidence chains", "fit_als", "fit_biases"
SVD, IMPLICIT = "Surprise SVD", "implicit ALS"


def drawn() -> tuple[Ratings, Ratings]:
    """About 100,000 ratings in the sizes of MovieLens-100K, and the newcomers'."""
    rng = np.random.default_rng(0)
    users = USERS + NEW
    full = 3.5 + 0.4 * rng.normal(size=(users, 1)) + 0.5 * rng.normal(size=ITEMS)
    full += rng.normal(size=(users, 4)) @ rng.normal(size=(4, ITEMS)) / 3
    full = np.clip(np.round(full + 0.7 * rng.normal(size=full.shape)), 1, 5)
    likely = rng.gamma(0.6, size=(users, 1)) * rng.gamma(0.5, size=ITEMS)
    mask = rng.random(full.shape) < likely * (0.063 / likely.mean())
    names = tuple(map(str, range(users))), tuple(map(str, range(ITEMS)))
    who, what = np.nonzero(mask)
    every = Ratings(who, what, full[mask], *names)
    old = every.take(who < USERS)._replace(user_names=names[0][:USERS])
    # Newcomers rate as many each, by how popular items are.
    share = likely.mean(0) / likely.mean(0).sum()
    what = np.concatenate(
        [rng.choice(ITEMS, 2 * SHOWN, replace=False, p=share) for _ in range(NEW)]
    )
    who = np.repeat(np.arange(NEW), 2 * SHOWN)
    return old, Ratings(who, what, full[USERS + who, what], names[0][:NEW], names[1])


def root(left: Any) -> float:
    return float(np.sqrt(np.mean(np.square(left))))


def measure(rounds: int) -> dict[str, Any]:
    """Errors, seconds to fit, and milliseconds for a thousand newcomers and all items."""
    old, new = drawn()
    split = old.split(test=0.1)
    train, test = split
    seconds, errors, cold = {}, {}, {}

    def timed(name: str, fit: Any) -> Any:
        start = time.perf_counter()
        found = fit()
        seconds[name] = time.perf_counter() - start
        return found

    biases = timed(BIASES, lambda: fit_biases(train))
    als = timed(ALS, lambda: fit_als(train, key=jr.key(0)))
    chains, _ = timed(
        CHAINS,
        lambda: fit_evidence_chains(train, steps=STEPS, progress=False, key=jr.key(0)),
    )
    rows = new.items.reshape(NEW, -1), new.values.reshape(NEW, -1)
    shown = jnp.asarray(rows[0][:, :SHOWN]), jnp.asarray(rows[1][:, :SHOWN], jnp.float32)
    asked, truth = rows[0][:, SHOWN:], rows[1][:, SHOWN:]

    @eqx.filter_jit
    def all_items(model: Any, items: jax.Array, values: jax.Array) -> jax.Array:
        every = jnp.arange(ITEMS)
        return jax.vmap(lambda i, v: model.rate(model.embed(i, v), every))(items, values)

    calls: dict[str, Any] = {}
    for name, model in ((BIASES, biases), (ALS, als), (CHAINS, chains.embed(train))):
        found = model.predict(jnp.asarray(test.users), jnp.asarray(test.items))
        errors[name] = root(np.asarray(found) - test.values)
        scores = np.asarray(all_items(model, *shown))
        cold[name] = root(np.take_along_axis(scores, asked, 1) - truth)
        calls[name] = lambda model=model: all_items(model, *shown).block_until_ready()

    frame = lambda users, items, values: list(
        zip(users.tolist(), items.tolist(), values.tolist(), [None] * len(users), strict=True)
    )
    before = frame(train.users, train.items, train.values)
    scale = surprise.Reader(rating_scale=(1, 5))

    def svd(rows: list) -> Any:
        table = surprise.Dataset(scale)
        table.raw_ratings = rows
        return surprise.SVD(random_state=0).fit(table.construct_trainset(rows))

    fitted = timed(SVD, lambda: svd(before))
    said = [fitted.predict(u, i).est for u, i in zip(test.users.tolist(), test.items.tolist(),
                                                     strict=True)]  # fmt: skip
    errors[SVD] = root(np.array(said) - test.values)
    who = USERS + np.repeat(np.arange(NEW), SHOWN)
    after = before + frame(who, rows[0][:, :SHOWN].ravel(), rows[1][:, :SHOWN].ravel())
    start = time.perf_counter()
    again = svd(after)
    refit = time.perf_counter() - start
    said = [again.predict(USERS + u, int(i)).est for u in range(NEW) for i in asked[u]]
    cold[SVD] = root(np.array(said) - truth.ravel())

    table = sp.csr_matrix((train.values, (train.users, train.items)), (USERS, ITEMS), np.float32)
    other = implicit.als.AlternatingLeastSquares(10, iterations=15, num_threads=1, random_state=0)
    timed(IMPLICIT, lambda: other.fit(table, show_progress=False))
    place = np.repeat(np.arange(NEW), SHOWN), rows[0][:, :SHOWN].ravel()
    own = sp.csr_matrix((rows[1][:, :SHOWN].ravel(), place), (NEW, ITEMS), np.float32)
    calls[IMPLICIT] = lambda: other.recalculate_user(np.arange(NEW), own) @ other.item_factors.T
    race_of = race(calls, rounds=rounds)
    return {
        "ratings": len(train.values), "fit": seconds, "errors": errors, "cold": cold,
        "refit": refit, "newcomers": race_of,
    }  # fmt: skip


def tables(record: dict[str, Any]) -> list[str]:
    """What was measured, in words and a table."""
    show = lambda found, name: f"{found[name]:.3f}" if name in found else ""
    ms = {name: f"{1000 * each.median:.1f}" for name, each in record["newcomers"].items()}
    ms[SVD] = f"{1000 * record['refit']:.0f} (a refit)"
    rows = [
        (name, f"{record['fit'][name]:.1f}", show(record["errors"], name), ms[name],
         show(record["cold"], name))
        for name in (CHAINS, ALS, BIASES, SVD, IMPLICIT)
    ]  # fmt: skip
    return [
        f"### Newcomers\n\n{record['ratings']} ratings in the sizes of MovieLens-100K, of rank 4 "
        f"with biases, noise and steps of 1; {NEW} newcomers with {SHOWN} ratings each, who are "
        f"embedded and given a score for each of {ITEMS} items, compiled before. {CHAINS} take "
        f"{STEPS} steps; their seconds to fit have compilation in them. implicit has no ratings to "
        "predict, so it has no error; a newcomer of Surprise takes a refit of all. Wanted: 50 ms.",
        markdown_table(
            ("", "seconds to fit", "RMSE", "ms for the newcomers", "RMSE of newcomers"), rows
        ),
    ]
