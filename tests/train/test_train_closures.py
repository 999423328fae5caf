"""What a loss, a step or an optimiser reads beside its arguments may change between two calls."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.train import Stream, evaluate, fit, iterate
from pullback.train._engine import run_chunk

X = jnp.asarray([1.0, 3.0])
SGD = optax.sgd(0.5)


def from_dict():
    held: dict[str, Any] = {}
    return (lambda: held["scale"]), (lambda scale: held.update(scale=scale))


def from_object():
    held = SimpleNamespace()
    return (lambda: held.scale), (lambda scale: setattr(held, "scale", scale))


def from_numpy():
    held = np.zeros(())
    return (lambda: jnp.asarray(held)), (lambda scale: held.__setitem__((), scale))


HELD: Any = SimpleNamespace(scale=None)


def from_global():
    return (lambda: HELD.scale), (lambda scale: setattr(HELD, "scale", scale))


HOLDERS = [from_dict, from_object, from_numpy, from_global]


def loss_of(read, traces=None):
    def loss(model, batch, *, key):
        if traces is not None:
            traces.append(1)
        return read() * jnp.mean((model - batch) ** 2), {}

    return loss


def options(**more):
    return {"optimiser": SGD, "steps": 1, "batch_size": 2, **more}


# Each from 0 in one step of rate 1/2, on data of mean 2: to 2 scale. The loss at 0 is 5 scale.
def by_fit(loss):
    return fit(jnp.zeros(()), loss, X, key=jr.key(0), **options())[0]


def by_stack(loss):
    return fit(jnp.zeros(2), loss, X, key=jr.split(jr.key(0)), **options())[0][1]


def by_iterate(loss):
    def step(state, batch, *, key):
        return state - 0.5 * jax.grad(lambda m: loss(m, batch, key=key)[0])(state), {}

    return iterate(step, jnp.zeros(()), Stream(X, 2), steps=1, key=jr.key(0))[0]


def by_evaluate(loss):
    return evaluate(jnp.zeros(()), loss, X, batch_size=2, key=jr.key(0))["loss"] * 2 / 5


def by_validation(loss):
    rest = options(validation=X, optimiser=optax.sgd(0.0))
    return fit(jnp.zeros(()), loss, X, key=jr.key(0), **rest)[1].history["validation_loss"][0] * 0.4


@pytest.mark.parametrize("way", [by_fit, by_stack, by_iterate, by_evaluate, by_validation])
def test_what_changed_is_seen(way):
    for holder in HOLDERS:
        read, write = holder()
        loss = loss_of(read)
        for scale in (1.0, 3.0, 1.0):
            write(scale)
            np.testing.assert_allclose(way(loss), 2 * scale, rtol=1e-12, err_msg=holder.__name__)


def test_an_optimisers_schedule_is_read_anew():
    held = {"rate": 0.5}
    optimiser = optax.sgd(lambda count: held["rate"])
    loss = loss_of(lambda: 1.0)
    for rate in (0.5, 0.25):
        held["rate"] = rate
        found, _ = fit(jnp.zeros(()), loss, X, key=jr.key(0), **options(optimiser=optimiser))
        np.testing.assert_allclose(found, 4 * rate, rtol=1e-12)


def test_a_step_is_traced_once_a_run_and_the_program_kept_for_what_computes_the_same():
    traces = []
    before = run_chunk._cached._cache_size()
    for seed in range(3):
        # A function of its own each time: the same program serves them all.
        loss = loss_of(lambda: 1.5, traces)
        rest = options(steps=7 + seed, log_every=2, batch_size=1)
        fit(jnp.full((), float(seed)), loss, X, key=jr.key(seed), **rest)
    assert len(traces) == 3
    assert run_chunk._cached._cache_size() == before + 1


def softened(scale):
    """A loss with a custom derivative in it, whose rule no program shows."""

    def loss(m, batch, *, key):
        return scale * jnp.mean(jax.nn.softplus(m - batch)), {}

    return loss


def test_what_is_built_anew_of_the_same_is_known_again():
    adam = lambda: optax.adam(optax.cosine_decay_schedule(0.1, 10))
    run = lambda scale, seed: fit(
        jnp.full((), float(seed)), softened(scale), X, key=jr.key(seed),
        **options(steps=3, batch_size=2, optimiser=adam()),
    )[0]  # fmt: skip
    run(1.0, 0)
    before = run_chunk._cached._cache_size()
    run(1.0, 1)
    assert run_chunk._cached._cache_size() == before
    run(2.0, 1)
    assert run_chunk._cached._cache_size() == before + 1


def test_two_rules_of_a_derivative_are_two_programs():
    """The programs are alike to the letter; the rules differ by what they close over."""

    def loss_of(slope):
        @jax.custom_jvp
        def f(x):
            return x

        f.defjvp(lambda primals, tangents: (primals[0], slope * tangents[0]))
        return lambda m, batch, *, key: (f(m) + 0 * jnp.mean(batch), {})

    for slope in (1.0, 3.0):
        found, _ = fit(jnp.zeros(()), loss_of(slope), X, key=jr.key(0),
                       **options(steps=1, batch_size=2, optimiser=optax.sgd(1.0)))  # fmt: skip
        assert float(found) == -slope
