"""The residual flow on a table of the user's own."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Float

from pullback.calculus import ExactLogDet, RouletteLogDet
from pullback.models.flows import (
    ResidualFlow,
    init_actnorm,
    log_prob_estimate,
    maximum_likelihood_loss,
    with_log_det,
)
from pullback.nn import update_spectral_norms
from pullback.recipes import residual_flow as recipe
from pullback.recipes._own import density as density_table
from pullback.recipes._own import own_file
from pullback.recipes.residual_flow.models import build
from pullback.runs import Claim, Context
from pullback.train import fit

_TRAINED_EXACTLY = 16  # columns up to which log-determinants are exact in training,
_SCORED_EXACTLY = 32  # and in scores
_COMPONENTS = (1, 2, 3, 5, 8, 12, 16)


@dataclass(frozen=True)
class Config(recipe.Config):
    columns: tuple[str, ...] = ()
    """The columns to take; all when none is named."""
    table_bound: float = 0.999
    """Of the flow of a table, which is to fit closely."""
    table_iterations: int = 4000
    """Training steps of the flow of a table."""
    table_learning_rate: float = 1e-2
    """Its rate at the start; it falls to nothing."""


def run(config: Config, context: Context) -> list[Claim]:
    """Fit a flow to a table; score every row, draw as many, and compare with a mixture."""
    file = own_file(context)
    prepared = density_table.prepare(file, config.columns, context.seed)
    rows, dim = prepared.rows, prepared.rows.shape[1]
    flow = _train(config, context, prepared)

    def score() -> dict[str, Any]:
        x, exact = jnp.asarray(rows, float), dim <= _SCORED_EXACTLY
        if exact:
            log_prob, noise = flow.log_prob(x, batch_size=4096), np.zeros(len(rows))
        else:
            log_prob, noise = log_prob_estimate(flow, x, batch_size=4096, key=jr.key(context.seed))
        z, _ = flow.inverse_and_log_det(x[: min(len(x), 4096)], key=jr.key(0))
        back, info = flow.invert(z)
        mixture, components = _mixture(prepared)
        return {
            "flow": np.asarray(log_prob, np.float64) - prepared.to_units,
            "noise": float(np.mean(noise)),
            "mixture": mixture - prepared.to_units,
            "components": components,
            "round_trip": float(jnp.max(jnp.abs(back - x[: len(back)]))),
            "unconverged": int((~info.converged).sum()),
            "samples": prepared.in_units(np.asarray(flow.sample(jr.key(context.seed), (len(rows),),
                                                                batch_size=4096))),
        }  # fmt: skip

    found = context.stage("scores", score)
    density_table.write_rows(context.root, prepared, found["flow"], found["samples"])
    test = prepared.test
    density_table.pair_plot(
        context, prepared.table.columns, prepared.table.values[test], found["samples"][: len(test)]
    )
    density_table.unlikeliest(context, prepared, found["flow"])
    density_table.describe(context, file, prepared)
    flow_test, mixture = found["flow"][test], found["mixture"]
    gain = flow_test - mixture
    error = float(np.std(gain, ddof=1) / np.sqrt(len(gain)))
    return [
        Claim(
            "On rows that it has not seen the flow is no worse than a mixture of Gaussians ("
            f"{found['components']} components, chosen on the validation rows; nats a row of "
            f"{-flow_test.mean():.4g} against {-mixture.mean():.4g}; gain)",
            value=float(gain.mean()),
            at_least=-2 * error,
            unit="nats",
            reference="scikit-learn's GaussianMixture; two standard errors of the difference",
        ),
        Claim(
            "From the data to the base and back, rows return (largest error, standard deviations)",
            value=found["round_trip"],
            at_most=1e-4,
            reference="exact: 0; float32",
        ),
        Claim(
            "Every inverse converges (rows that did not)",
            value=found["unconverged"],
            at_most=0,
            reference="exact: 0",
        ),
    ]


def _train(config: Config, context: Context, prepared: density_table.Prepared) -> ResidualFlow:
    rows, dim = prepared.rows, prepared.rows.shape[1]
    flow_key, key = jr.split(jr.key(context.seed))
    method = ExactLogDet() if dim <= _TRAINED_EXACTLY else RouletteLogDet()
    train, validation = (
        jnp.asarray(rows[part], float) for part in (prepared.train, prepared.validation)
    )
    config = dataclasses.replace(config, bound=config.table_bound)
    flow = init_actnorm(build(config, dim, method, flow_key), train[:1000])
    schedule = optax.cosine_decay_schedule(config.table_learning_rate, config.table_iterations)
    flow, _ = fit(
        flow,
        maximum_likelihood_loss,
        train,
        optimiser=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)),
        steps=config.table_iterations,
        batch_size=min(config.batch_size, len(train)),
        validation=validation,
        patience=10,
        log_every=max(50, config.table_iterations // 40),
        **context.training("table"),
        key=key,
    )
    flow = update_spectral_norms(flow, rtol=1e-6, max_steps=10_000)
    return with_log_det(flow, ExactLogDet()) if dim <= _SCORED_EXACTLY else flow


def _mixture(prepared: density_table.Prepared) -> tuple[Float[np.ndarray, " h"], int]:
    """Log-densities of the test rows by the mixture that does best on the validation rows."""
    from sklearn.mixture import GaussianMixture

    train, validation = prepared.rows[prepared.train], prepared.rows[prepared.validation]
    fitted = [
        GaussianMixture(number, random_state=0, reg_covar=1e-4).fit(train)
        for number in _COMPONENTS
        if number * 5 <= len(train)
    ]
    best = max(fitted, key=lambda mixture: mixture.score(validation))
    return best.score_samples(prepared.rows[prepared.test]), int(best.get_params()["n_components"])


PRESETS = {name: Config(**vars(config)) for name, config in recipe.PRESETS.items()}
PRESETS["smoke"] = replace(PRESETS["smoke"], table_iterations=20)
PRESETS["paper"] = replace(PRESETS["paper"], table_iterations=20_000)
