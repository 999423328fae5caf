"""What the recipe `i-resnet` measures of its models."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

from pullback.calculus import ExactLogDet, TruncatedLogDet, truncation_bias_bound
from pullback.models.flows import ResidualFlow, with_log_det
from pullback.nn import lipschitz_upper_bound, update_spectral_norms
from pullback.recipes.i_resnet.models import (
    Classifier,
    Config,
    Kind,
    classifiers,
    flows_of,
    pictures,
)

_LOST = 1e30  # an error that overflows
_ROUNDING = 1e-4  # below it a float32 error is rounding, and no bound is compared with it
SHOWN = (0, 1, 3, 10, 30)  # iterations whose images are shown
TERMS = (1, 2, 3, 5, 10, 20)


def settled(models: Any) -> Any:
    """Models whose layers know their norms to rounding."""
    return update_spectral_norms(models, rtol=1e-5, max_steps=10_000)


def counts(config: Config) -> list[int]:
    """Iterations after which the error of an inverse is measured."""
    some = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200, 500)
    return [n for n in some if n <= config.iterations]


def score(
    config: Config,
    kind: Kind,
    arrays: Sequence[Any],
    x: Float[np.ndarray, "n *shape"],
    y: np.ndarray,
) -> dict[str, np.ndarray]:
    """Of each seed: the accuracy, the certificates, and how the inverse goes."""
    count = len(np.asarray(arrays[0]))
    models = classifiers(config, kind, arrays, x.shape[1:], count)
    models = settled(models)
    blocks, layers = certificates(models)
    labels, some = jnp.asarray(y), jnp.asarray(x[: config.images])

    @eqx.filter_jit
    def of_model(model: Classifier) -> dict[str, Array]:
        guess = jnp.argmax(jax.lax.map(model, jnp.asarray(x), batch_size=500), axis=1)
        z = jax.vmap(model.features)(some)
        back = lambda n: jax.vmap(lambda z: after(model, z, n))(z)
        errors = jax.lax.map(lambda n: _distance(back(n), some), jnp.asarray(counts(config)))
        found, info = _solve(model, z)
        worse = eqx.tree_at(
            lambda m: [layer.weight for layer in m.nets.layers],
            model,
            replace_fn=lambda weight: 3 * weight,
        )
        _, wild = _solve(worse, jax.vmap(worse.features)(some))
        return {
            "accuracy": jnp.mean((guess == labels).astype(some.dtype)),
            "errors": errors,
            "steps": info.steps,
            "converged": info.converged,
            "missed": jnp.where(info.converged, _distance(found, some), 0),
            "wild": wild.converged,
        }

    found = jax.tree.map(lambda *leaves: np.stack(leaves), *(
        jax.tree.map(np.asarray, of_model(model)) for model in each(models, count)
    ))  # fmt: skip
    found["errors"] = np.minimum(np.nan_to_num(found["errors"], nan=_LOST, posinf=_LOST), _LOST)
    return {**found, "blocks": blocks, "layers": layers}


def each(models: Any, count: int) -> list[Any]:
    """The models of a stack, one by one."""
    arrays, static = eqx.partition(models, eqx.is_array)
    rows = [jax.tree.map(lambda leaf, i=i: leaf[i], arrays) for i in range(count)]
    return [eqx.combine(row, static) for row in rows]


def certificates(models: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """The product of exact norms of each block, `[seeds, blocks]`, and each norm itself."""
    over = lambda f: eqx.filter_jit(eqx.filter_vmap(eqx.filter_vmap(f)))
    blocks = over(lambda nets: lipschitz_upper_bound(nets))(models.nets)
    norms = lambda nets: jnp.stack([lipschitz_upper_bound(layer) for layer in nets.layers])
    return np.asarray(blocks), np.asarray(over(norms)(models.nets))


def after(model: Classifier, z: Float[Array, "*shape"], n: Any) -> Float[Array, "*shape"]:
    """The input of all blocks, by n plain iterations of each from its output on."""
    arrays, static = eqx.partition(model.nets, eqx.is_array)

    def block(y: Array, net: Any) -> tuple[Array, None]:
        g = eqx.combine(net, static)
        return jax.lax.fori_loop(0, n, lambda _, x: y - g(x), y), None

    return jax.lax.scan(block, z, arrays, reverse=True)[0]


def _solve(model: Classifier, z: Float[Array, "n *shape"]) -> tuple[Array, Any]:
    solver = optx.FixedPointIteration(1e-5, 1e-5)
    return jax.vmap(lambda z: model.trunk().inverse(z, solver, 300))(z)


def _distance(a: Array, b: Array) -> Float[Array, " n"]:
    return jnp.linalg.norm((a - b).reshape(len(a), -1), axis=1)


def rates(
    config: Config, kind: Kind, arrays: Sequence[Any], x: Float[np.ndarray, "n *shape"]
) -> dict[str, np.ndarray]:
    """Errors of the iterates of each block against the bound, `[seeds, blocks, iterations]`."""
    count = len(np.asarray(arrays[0]))
    models = settled(classifiers(config, kind, arrays, x.shape[1:], count))
    lipschitz, _ = certificates(models)
    some = jnp.asarray(x[: min(100, config.images)])

    def of_model(model: Classifier, certified: Array) -> tuple[Array, ...]:
        arrays, static = eqx.partition(model.nets, eqx.is_array)

        def of_block(inputs: Array, layer: Any) -> tuple[Array, Any]:
            net, bound = layer
            g = jax.vmap(eqx.combine(net, static))
            y = inputs + g(inputs)
            first = _distance(y - g(y), y) / (1 - bound)

            def turn(x: Array, n: Array) -> tuple[Array, Any]:
                error, most = _distance(x, inputs), first * bound**n
                ratio = jnp.max(jnp.where(most > _ROUNDING, error / most, 0))
                return y - g(x), (jnp.mean(error), jnp.mean(most), ratio)

            return y, jax.lax.scan(turn, y, jnp.arange(31, dtype=x.dtype))[1]

        return jax.lax.scan(of_block, some, (arrays, certified))[1]

    found = eqx.filter_jit(eqx.filter_vmap(of_model))(models, jnp.asarray(lipschitz))
    return dict(zip(("error", "bound", "ratio"), map(np.asarray, found), strict=True))


def walk(
    config: Config,
    rows: Mapping[str, tuple[Kind, Sequence[Any]]],
    x: Float[np.ndarray, "n *shape"],
) -> dict[str, np.ndarray]:
    """Images, and what is made of their features by some numbers of iterations."""
    shown = {"image": pictures(x)}
    for name, (kind, arrays) in rows.items():
        count = len(np.asarray(arrays[0]))
        model = each(settled(classifiers(config, kind, arrays, x.shape[1:], count)), count)[0]
        for n, back in zip(SHOWN, np.asarray(_walk(model, jnp.asarray(x))), strict=True):
            back = np.nan_to_num(back, nan=0, posinf=1, neginf=-1)
            shown[f"{name}, {n}"] = np.clip(pictures(np.clip(back, -1, 1)), 0, 1)
    return shown


@eqx.filter_jit
def _walk(model: Classifier, x: Array) -> Array:
    z = jax.vmap(model.features)(x)
    return jax.lax.map(lambda n: jax.vmap(lambda z: after(model, z, n))(z), jnp.asarray(SHOWN))


def score_flows(
    config: Config, exact: Sequence[Any], series: Sequence[Any], test: Float[np.ndarray, "n 2"],
    seed: int,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Of each seed: what both densities say of the test points, and what a series leaves out."""
    count = len(np.asarray(exact[0]))
    x = jnp.asarray(test)
    side = jnp.linspace(-4, 4, config.grid, dtype=x.dtype)
    plane = jnp.stack(jnp.meshgrid(side, side), axis=-1).reshape(-1, 2)
    keys = jax.random.split(jax.random.key(seed), 3)
    out: dict[str, list[Any]] = {}
    keep = lambda name, value: out.setdefault(name, []).append(np.asarray(value))
    both = (flows_of(config, True, exact, count), flows_of(config, False, series, count))
    both = [each(settled(with_log_det(flow, ExactLogDet())), count) for flow in both]
    for own, other in zip(*both, strict=True):
        z, true, log_probs = _forward(own, x, None)
        keep("exact", -log_probs.mean())
        keep("series", -_forward(other, x, None)[2].mean())
        rough = with_log_det(other, TruncatedLogDet(config.terms))
        keep("series_own", -np.mean([_forward(rough, x, key)[2] for key in keys]))
        on_grid = jnp.exp(_on_plane(own, plane)).reshape(config.grid, config.grid)
        keep("mass", jnp.sum(on_grid) * (side[1] - side[0]) ** 2)
        keep("density", on_grid)
        back, info = _back(own, z)
        keep("round_trip", jnp.max(jnp.abs(back - x)))
        keep("converged", jnp.mean(info.converged.astype(x.dtype)))
        errors, bounds = _left_out(own, x, true)
        keep("left_out", errors)
        keep("left_out_bound", bounds)
        keep("samples", _back(own, own.base.sample(keys[0], (len(x),)))[0][:1000])
    return {"points": test[:1000], **{name: np.stack(value) for name, value in out.items()}}


# Apart from the loop over seeds, so that each is compiled once.
@eqx.filter_jit
def _forward(flow: ResidualFlow, x: Array, key: Any) -> tuple[Array, Array, Array]:
    z, log_det = flow.inverse_and_log_det(x, key=key)
    return z, log_det, flow.base.log_prob(z) + log_det


@eqx.filter_jit
def _on_plane(flow: ResidualFlow, plane: Array) -> Array:
    return jax.lax.map(lambda x: flow.log_prob(x[None])[0], plane, batch_size=4000)


@eqx.filter_jit
def _back(flow: ResidualFlow, z: Array) -> tuple[Array, Any]:
    return flow.invert(z)


def _left_out(flow: ResidualFlow, x: Array, true: Array) -> tuple[np.ndarray, np.ndarray]:
    """The largest error of the series with an exact trace, and its bound, for each of `TERMS`."""
    _, stacked = flow.bijection.parts  # pyright: ignore[reportAttributeAccessIssue]
    residual, _ = stacked.layers.parts
    norms = np.asarray(eqx.filter_vmap(lipschitz_upper_bound)(residual.net))
    errors, bounds = [], []
    for terms in TERMS:
        rough = with_log_det(flow, TruncatedLogDet(terms, distribution="basis"))
        errors.append(float(jnp.max(jnp.abs(_forward(rough, x, None)[1] - true))))
        bounds.append(sum(truncation_bias_bound(float(norm), 2, terms) for norm in norms))
    return np.asarray(errors), np.asarray(bounds)
