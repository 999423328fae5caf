"""Noisy natural gradient beside Adam, kfac-jax, laplace-torch and a Gaussian process."""

import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax

from _harness import Timing, markdown_table, race
from pullback.data import standardise, uci_regression
from pullback.optim import Diagonal, Kronecker, fit_posterior
from pullback.train import fit

PACKAGES = ("pullback", "jax", "equinox", "optax", "kfac-jax", "laplace-torch", "torch")
SHORT, LONG = 200, 1200  # steps: their difference is free of tracing and starting
WAYS: dict[str, tuple[Any, Any]] = {
    "noisy Adam, a draw a batch": (Diagonal(), "batch"),
    "noisy Adam, a draw an example": (Diagonal(), "example"),
    "noisy K-FAC, a draw a batch": (Kronecker(), "batch"),
    "noisy K-FAC, a draw an example": (Kronecker(), "example"),
}


class ConvNet(eqx.Module):
    """Two convolutions and a dense layer, of images of 16 x 16 pixels."""

    convs: list[eqx.nn.Conv2d]
    last: eqx.nn.Linear

    def __init__(self, key):
        one, two, three = jr.split(key, 3)
        self.convs = [
            eqx.nn.Conv2d(1, 16, 3, padding=1, key=one),
            eqx.nn.Conv2d(16, 32, 3, stride=2, padding=1, key=two),
        ]
        self.last = eqx.nn.Linear(32 * 64, "scalar", key=three)

    def __call__(self, x):
        for conv in self.convs:
            x = jax.nn.relu(conv(x))
        return self.last(x.ravel())


def problems() -> dict[str, tuple[Any, Any, int]]:
    """A network, rows, and rows of a step, by what it is."""
    mlp = lambda *sizes: eqx.nn.MLP(*sizes, activation=jax.nn.relu, key=jr.key(0))
    rows = lambda *shape: jr.normal(jr.key(1), (1000, *shape))
    return {
        "MLP 8-50-1, batches of 50": (mlp(8, "scalar", 50, 1), rows(8), 50),
        "MLP 64-100-100-1, batches of 100": (mlp(64, "scalar", 100, 2), rows(64), 100),
        "conv net, 16 x 16, batches of 50": (ConvNet(jr.key(0)), rows(1, 16, 16), 50),
    }


def measure_steps(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of a step of each way, as users call it, and of Adam's."""
    found = {}
    for name, (net, x, size) in problems().items():
        y = x.reshape(len(x), -1)[:, 0]
        calls = {
            f"{way}/{steps}": _call(net, x, y, size, way, steps)
            for way in ("Adam", *WAYS)
            for steps in (SHORT, LONG)
        }
        timings = race(calls, rounds=rounds)
        ways = ("Adam", *WAYS)
        found[name] = {way: _per_step(timings, way) for way in ways}
        found[name]["kfac-jax, no draws"] = _by_kfac_jax(net, x, y, size)
    return found


def _per_step(timings: dict[str, Timing], way: str) -> float:
    return (timings[f"{way}/{LONG}"].min - timings[f"{way}/{SHORT}"].min) / (LONG - SHORT)


def _call(net: Any, x: Any, y: Any, size: int, way: str, steps: int) -> Callable[[], object]:
    shared = {"steps": steps, "batch_size": size, "log_every": SHORT, "progress": False,
              "key": jr.key(2)}  # fmt: skip
    if way == "Adam":
        adam = optax.adam(1e-3)

        def loss(net, batch, *, key):
            return jnp.mean((jax.vmap(net)(batch[0]) - batch[1]) ** 2), {}

        return lambda: fit(net, loss, (x, y), optimiser=adam, **shared)
    curvature, draws = WAYS[way]
    likelihood = lambda mean: dist.Normal(mean, 0.3)
    optimiser = optax.sgd(1e-3, 0.9)
    return lambda: fit_posterior(
        net, likelihood, x, y, curvature=curvature, draws=draws, damping=0.1, optimiser=optimiser,
        **shared,
    )  # fmt: skip


def _by_kfac_jax(net: Any, x: Any, y: Any, size: int) -> float:
    """Seconds of a step of kfac-jax on the same layers, by its own call; NaN where it does none."""
    try:
        import kfac_jax
    except ImportError as error:
        print(f"kfac-jax is left out: {error}")
        return float("nan")
    params, static = eqx.partition(net, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(params)

    def loss(leaves, batch):
        model = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        mean = jnp.stack([layer_by_layer(model, batch[0])], axis=-1)
        kfac_jax.register_squared_error_loss(mean, batch[1][:, None], weight=0.5)
        return jnp.mean((mean[:, 0] - batch[1]) ** 2)

    if isinstance(net, ConvNet):
        return float("nan")
    try:
        optimiser = kfac_jax.Optimizer(
            jax.value_and_grad(loss), l2_reg=0.0, value_func_has_aux=False,
            use_adaptive_learning_rate=False, use_adaptive_momentum=False,
            use_adaptive_damping=False, inverse_update_period=100, initial_damping=0.1,
            multi_device=False, num_burnin_steps=0,
        )  # fmt: skip
        state = optimiser.init(leaves, jr.key(0), (x[:size], y[:size]))
        key, best = jr.key(1), np.inf
        for step in range(400):
            start = time.perf_counter()
            leaves, state, _ = optimiser.step(
                leaves, state, key, batch=(x[:size], y[:size]), momentum=0.9, learning_rate=1e-4,
                damping=0.1,
            )  # fmt: skip
            jax.block_until_ready(leaves)
            best = min(best, time.perf_counter() - start) if step > 20 else best
    except Exception as error:
        print(f"kfac-jax is left out: {type(error).__name__}: {str(error)[:300]}")
        return float("nan")
    return best


def layer_by_layer(model: Any, x: Any) -> Any:
    """A dense network of a whole batch, in the form that kfac-jax looks for."""
    for place, layer in enumerate(model.layers):
        x = x @ layer.weight.T + layer.bias
        x = jax.lax.max(x, jnp.zeros_like(x)) if place < len(model.layers) - 1 else x
    return x[:, 0]


def measure_folds(table: str, splits: int) -> dict[str, list[tuple[float, float]]]:
    """Test log-likelihood and seconds of fit and predict of folds of a UCI table."""
    found: dict[str, list[tuple[float, float]]] = {}
    for split in range(splits):
        train, test = uci_regression(table, split)
        (x, test_x), _ = standardise(train.x, test.x)
        (y, test_y), scaler = standardise(train.y, test.y)
        parts = [np.asarray(part, np.float32) for part in (x, y, test_x, test_y)]
        for name, rival in _RIVALS.items():
            start = time.perf_counter()
            try:
                log_prob = rival(*parts)
            except ImportError as error:
                print(f"{name} is left out: {error}")
                continue
            seconds = time.perf_counter() - start
            told = float(np.mean(log_prob) - np.log(scaler.scale))
            found.setdefault(name, []).append((told, seconds))
    return found


class Measured(eqx.Module):
    """A network, and the logarithm of the noise's scale."""

    net: eqx.nn.MLP
    log_scale: jax.Array

    def __call__(self, x):
        return self.net(x), self.log_scale


def _likelihood(output):
    return dist.Normal(output[0], jnp.exp(output[1]))


def _by_ours(curvature: Any) -> Callable[..., np.ndarray]:
    def log_prob(x, y, test_x, test_y):
        net = eqx.nn.MLP(x.shape[1], "scalar", 50, 1, jax.nn.relu, key=jr.key(0))
        posterior, _ = fit_posterior(
            Measured(net, jnp.asarray(-1.0)), _likelihood, x, y, curvature=curvature, steps=6000,
            damping=0.01, batch_size=50, inverse_every=20, draws="batch", log_every=6000,
            progress=False, key=jr.key(1),
        )  # fmt: skip
        return np.asarray(posterior.log_prob(test_x, test_y, key=jr.key(2)))

    return log_prob


def _by_process(x, y, test_x, test_y):
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    kernel = ConstantKernel() * RBF(np.ones(x.shape[1])) + WhiteKernel()
    model = GaussianProcessRegressor(kernel, random_state=0).fit(x, y)
    mean, std = model.predict(test_x, return_std=True)
    return -np.square((test_y - mean) / std) / 2 - np.log(std * np.sqrt(2 * np.pi))


def _by_laplace(x, y, test_x, test_y):
    import torch
    from laplace import Laplace

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 50), torch.nn.ReLU(), torch.nn.Linear(50, 1)
    )
    data = torch.from_numpy(x), torch.from_numpy(y)[:, None]
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*data), batch_size=50, shuffle=True
    )
    adam = torch.optim.Adam(net.parameters(), 1e-2, weight_decay=1e-4)
    for _ in range(6000 // len(loader)):
        for rows, target in loader:
            adam.zero_grad()
            torch.nn.functional.mse_loss(net(rows), target).backward()
            adam.step()
    model = Laplace(net, "regression", subset_of_weights="all", hessian_structure="kron")
    model.fit(loader)
    log_prior, log_sigma = (torch.zeros(1, requires_grad=True) for _ in range(2))
    tuning = torch.optim.Adam([log_prior, log_sigma], 1e-1)
    for _ in range(100):
        tuning.zero_grad()
        (-model.log_marginal_likelihood(log_prior.exp(), log_sigma.exp())).backward()
        tuning.step()
    mean, variance = model(torch.from_numpy(test_x))
    variance = variance.detach().numpy()[:, 0, 0] + float(model.sigma_noise.detach()) ** 2
    off = test_y - mean.detach().numpy()[:, 0]
    return -np.square(off) / variance / 2 - np.log(2 * np.pi * variance) / 2


_RIVALS = {
    "noisy K-FAC": _by_ours(Kronecker()),
    "noisy Adam": _by_ours(Diagonal()),
    "laplace-torch, Kronecker, tuned by its evidence": _by_laplace,
    "scikit-learn's Gaussian process": _by_process,
}


def measure(rounds: int) -> dict[str, Any]:
    """All figures of noisy natural gradient."""
    return {"steps": measure_steps(rounds), "folds": measure_folds("yacht", 3)}


def tables(found: dict[str, Any]) -> list[str]:
    """The figures, in words and tables."""
    names = list(next(iter(found["steps"].values())))
    rows = []
    for name, steps in found["steps"].items():
        cell = lambda way, steps=steps: (
            f"{1e6 * steps[way]:.0f} ({steps[way] / steps['Adam']:.1f})"
            if np.isfinite(steps[way]) else "-"
        )  # fmt: skip
        rows.append([name, *(cell(way) for way in names)])
    folds = []
    for name, each in found["folds"].items():
        told, seconds = np.asarray(each).T
        folds.append([name, f"{told.mean():.2f}", f"{seconds[0]:.1f}", f"{seconds[1:].min():.1f}"])
    return [
        "**Noisy natural gradient**: microseconds of a step, and in brackets those of Adam's; of "
        "`fit` and `fit_posterior` as they are called, without tracing and compiling.",
        markdown_table(["", *names], rows),
        "Fit and predict of folds of UCI's yacht table (277 rows), 50 hidden units: mean test "
        "log-likelihood over the folds, and seconds.",
        markdown_table(["", "log-likelihood", "seconds, first fold", "seconds, later"], folds),
    ]
