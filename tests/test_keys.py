"""Whatever runs with a random key says at the call what a key is."""

import importlib
import inspect

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback._key import checked_key, checked_key_or_keys, checked_keys
from pullback.sampling import Enumeration, expectation
from pullback.train import Stream, iterate

ROOMS = (
    "train", "sampling", "bounds", "bilevel", "games", "optim", "analysis", "calculus", "data",
    "nn", "analysis.explain", "analysis.samples", "analysis.signals",
    "models.vae", "models.energy", "models.bayes", "models.flows", "models.graphs",
    "models.recommenders", "models.sequences", "models.timeseries",
)  # fmt: skip


def entries():
    """Every public function, method and constructor that asks for a key and has no default."""
    for room in ROOMS:
        package = importlib.import_module(f"pullback.{room}")
        for name, part in vars(package).items():
            if name.startswith("_") or not callable(part):
                continue
            found = {name: part}
            if inspect.isclass(part):
                found = {f"{name}.{key}": each for key, each in vars(part).items()
                         if key in ("__call__", "__init__") or not key.startswith("_")}  # fmt: skip
            for where, each in found.items():
                # Without the checks of types that the tests put around it.
                function = inspect.unwrap(each) if inspect.isroutine(each) else None
                abstract = getattr(each, "__isabstractmethod__", False)
                if function is None or abstract or getattr(part, "_is_protocol", False):
                    continue
                wanted = inspect.signature(function).parameters
                for key in {"key", "keys"} & set(wanted):
                    estimates = key == "keys" and where.endswith("__call__")
                    if wanted[key].default is inspect.Parameter.empty and not estimates:
                        yield pytest.param(function, key, id=f"{room}.{where}")


@pytest.mark.parametrize(("function", "name"), list(entries()))
def test_a_number_is_no_key(function, name):
    arguments, options = [], {}
    for each in inspect.signature(function).parameters.values():
        value = 7 if each.name == name else None
        if each.kind is each.KEYWORD_ONLY:
            options[each.name] = value
        elif each.kind is not each.VAR_KEYWORD:
            arguments.append(value)
    with pytest.raises(TypeError, match=rf"{name} must be .*random keys? of JAX's.*, got 7: give"):
        function(*arguments, **options)


def test_there_are_entries():
    assert len(list(entries())) > 120


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (0, r"got 0: give jax.random.key\(0\)"),
        (np.int64(3), r"got np.int64\(3\): give jax.random.key\(3\)"),
        (None, r"got None: give jax.random.key\(0\)"),
        (1.5, r"got 1.5: give"),
        (jnp.zeros((), jnp.int32), r"got int32\[\]: give"),
        (jnp.zeros(3, jnp.uint32), r"got uint32\[3\]: give"),
        (jr.split(jr.key(0), 3), r"got key<fry>\[3\]: give one of them, or jax.vmap over them"),
        (jr.split(jr.PRNGKey(0), 3), r"got uint32\[3, 2\]: give one of them"),
    ],
)
def test_what_is_no_key(key, message):
    with pytest.raises(TypeError, match=message):
        checked_key(key)


def test_old_and_new_keys_alone_mapped_and_compiled(promotion):
    bernoulli = dist.Bernoulli(0.25)
    mean = lambda key: expectation(
        lambda z, q: z, bernoulli, estimator=Enumeration(), key=checked_key(key)
    )
    for make in (jr.key, jr.PRNGKey, lambda seed: np.asarray(jr.PRNGKey(seed))):
        assert mean(make(0)) == 0.25
        assert jax.jit(mean)(make(0)) == 0.25
        keys = jr.split(make(0), 3)
        assert jax.vmap(mean)(keys).tolist() == [0.25] * 3
        assert checked_keys(keys).shape == (3,)
        assert checked_key_or_keys(make(0)).shape == ()
    with pytest.raises(TypeError, match=r"along one axis, \[n\], got key<fry>\[\]"):
        checked_keys(jr.key(0))
    with pytest.raises(TypeError, match="must be one random key"):
        checked_key_or_keys(jr.split(jr.key(0), (2, 2)))
    # Of the same numbers as the new key's.
    step = lambda state, batch, *, key: (state + jr.normal(key), {"state": state})
    run = lambda key: inspect.unwrap(iterate)(
        step, jnp.zeros(()), Stream(jnp.arange(3.0), 2), steps=2, log_every=1, key=key
    )[0]
    assert run(jr.PRNGKey(3)) == run(jr.key(3)) != run(jr.key(4))
