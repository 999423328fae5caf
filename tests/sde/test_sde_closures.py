"""What drift, diffusion and prior read beside their arguments may change between two solves."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pullback as pb
from pullback.sde._solve import _solve


class Plain:
    """An object that JAX does not know."""

    rate = sigma = rise = jnp.array(0.0)


WAYS = [
    {"solver": diffrax.Euler(), "steps": 4},
    {"solver": diffrax.Midpoint(), "steps": 4, "adjoint": pb.sde.StochasticAdjoint()},
]


def noisy(held, scale, key, **way):
    """`dy = rate dt + sigma dW` against `dy = (rate - rise) dt + sigma dW`, from 0 to 1."""
    ones = jnp.ones_like
    return pb.sde.solve(
        lambda t, y, args: held.rate * scale * ones(y),
        lambda t, y, args: held.sigma * ones(y),
        jnp.zeros(2),
        [0.0, 1.0],
        key=key,
        noise="additive",
        prior=lambda t, y, args: (held.rate * scale - held.rise) * ones(y),
        **way,
    )


@pytest.mark.parametrize("way", WAYS, ids=lambda way: type(way["solver"]).__name__)
def test_what_is_replaced_is_read_and_differentiated(way, key):
    held, scale = Plain(), np.ones(2)

    def ends(rate, sigma, rise):
        held.rate, held.sigma, held.rise = rate, sigma, rise
        sol = noisy(held, scale, key, **way)
        return sol.ys[-1], sol.kl[-1]

    w = pb.sde.solve(
        lambda t, y, args: 0 * y,
        lambda t, y, args: jnp.ones_like(y),
        jnp.zeros(2),
        [0.0, 1.0],
        key=key,
        noise="additive",
        **way,
    ).ys[-1]
    for rate, sigma, rise in ((1.0, 0.5, 0.5), (2.0, 1.0, 3.0)):
        scale[0] = rate
        given = jnp.array(rate), jnp.array(sigma), jnp.array(rise)
        y, kl = ends(*given)
        np.testing.assert_allclose(y, rate * scale + sigma * w, rtol=1e-5)
        np.testing.assert_allclose(kl, (rise / sigma) ** 2, rtol=1e-5)
        # Eagerly: the functions read the same object at each call, which holds tracers now.
        of_y, of_kl = (jax.grad(lambda *g, i=i: jnp.sum(ends(*g)[i]), (0, 1, 2)) for i in (0, 1))
        np.testing.assert_allclose(of_y(*given), [scale.sum(), w.sum(), 0.0], rtol=1e-4, atol=1e-5)
        slopes = [0.0, -2 * rise**2 / sigma**3, 2 * rise / sigma**2]
        np.testing.assert_allclose(of_kl(*given), slopes, rtol=1e-4, atol=1e-5)


def test_fresh_functions_that_compute_the_same_compile_nothing(key):
    held = Plain()
    # Three arrays: one that is read twice is a program of its own.
    held.sigma, held.rise = jnp.array(1.0), jnp.array(0.0)
    noisy(held, np.ones(2), key, **WAYS[0])
    before = _solve._cached._cache_size()
    held.rise = jnp.array(2.0)
    sol = noisy(held, np.ones(2), key, **WAYS[0])
    np.testing.assert_allclose(sol.kl[-1], 4.0, rtol=1e-5)
    assert _solve._cached._cache_size() == before


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "diffusion",
            [1.0, 1.0],
            r"shape of y, \[2\], got list: make one array of it",
        ),
        ("prior", [1.0, 1.0], r"float64\[2\], wherever there is noise, got list: make one array"),
        ("prior", jnp.zeros(2, jnp.int32), r"what y is, float64\[2\], .* got int32\[2\]$"),
    ],
)
def test_a_list_or_a_wrong_dtype_is_named(name, value, message, key):
    functions = {"drift": lambda t, y, a: -y, "diffusion": lambda t, y, a: jnp.ones_like(y)}
    functions[name] = lambda t, y, a: value
    with pytest.raises(ValueError, match=message):
        pb.sde.solve(
            **functions, y0=jnp.ones(2), ts=[0.0, 1.0], key=key, solver=diffrax.Euler(), steps=1
        )


def test_a_function_of_two_arguments_and_an_if_on_a_number_are_named(key):
    start = {"y0": jnp.ones(2), "ts": [0.0, 1.0], "key": key, "solver": diffrax.Euler(), "steps": 1}
    ones = lambda t, y, a: jnp.ones_like(y)
    with pytest.raises(TypeError, match="diffusion must be a function diffusion"):
        pb.sde.solve(ones, lambda t, y: y, **start)  # pyrefly: ignore
    with pytest.raises(jax.errors.TracerBoolConversionError) as caught:
        pb.sde.solve(lambda t, y, a: y if y[0] > 0 else -y, ones, **start)
    assert any("drift is traced" in note for note in caught.value.__notes__)
