"""The autoregressive predictor: what comes next, from a recurrent state that evolves."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from pullback._checked_data import checked_by
from pullback._key import checked_key
from pullback.models.likelihoods import AbstractLikelihood, Normal, masked_log_prob

from ._cells import AbstractCell
from ._observations import Observations, check_observations, check_values
from ._readout import linear_readout
from ._recurrent_cell import Kind, recurrent_cell
from ._run_cell import run_cell
from ._scores import scores


class Predictor(eqx.Module):
    r"""Predicts each value from the observations before it, and from nothing at or after it.

    $$ \hat x(t) = \mathrm{readout}(\mathrm{evolve}(h_i; t_i \to t)) \qquad
       t_i \text{ the last observation before } t $$

    With a cell whose state follows an ODE this is the ODE-RNN. Everything is written for one
    series; use `jax.vmap` for a batch. Beyond the last observation `predict` lets the state follow
    its transition, and `forecast` feeds predictions back.

    Attributes:
        cell: the recurrent cell.
        readout: from the cell's features to the likelihood's parameters, of the shape
            `likelihood.params_shape((variables,))`.
        likelihood: how values scatter about predictions: any of `pb.models.likelihoods`, or one of
            your own.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = predictor("ode", 1, 8, key=jax.random.key(0))
        >>> times, values = jnp.arange(4.0), jnp.ones((4, 1))
        >>> mask = jnp.ones((4, 1), bool)
        >>> model.predict(times, values, mask, jnp.array([0.5, 2.5])).shape
        (2, 1)

    Source: Rubanova et al., arXiv 1907.03907, sections 3.1 and 3.4.
    """

    cell: AbstractCell
    readout: Callable[[Any], Any]
    likelihood: AbstractLikelihood

    def check(self, observed: Observations) -> None:
        """Raise ValueError if an observed value, of one series or many, is not the likelihood's."""
        check_values(self.likelihood, observed)

    def outputs(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time variables"],
        mask: Bool[Array, "time variables"],
    ) -> Float[Array, "time variables ..."]:
        """The likelihood's parameters for each entry, made before the entry was seen."""
        before = run_cell(self.cell, times, values, mask).before
        return jax.vmap(lambda state: self.readout(self.cell.read(state)))(before)

    def one_step(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time variables"],
        mask: Bool[Array, "time variables"],
    ) -> Float[Array, "time variables *classes"]:
        """The prediction for each entry, made before the entry was seen: its mean.

        Of classes it is their probabilities, with one more axis; in `predict` too.
        """
        return self.likelihood.mean(self.outputs(times, values, mask))

    def log_prob(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time variables"],
        mask: Bool[Array, "time variables"],
    ) -> Float[Array, "time variables"]:
        r"""The log-density of each observed value given the past, in nats; 0 elsewhere.

        Their sum is $\log p(x_1, \ldots, x_T)$.

        Raises:
            ValueError: an observed value cannot be of the likelihood.
        """
        self.check(Observations(times, values, mask))
        params = self.outputs(times, values, mask)
        return masked_log_prob(self.likelihood, params, values, mask)

    def predict(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time variables"],
        mask: Bool[Array, "time variables"],
        queries: Float[Array, " query"],
    ) -> Float[Array, "query variables *classes"]:
        """The prediction at each of `queries` from the observations before it.

        Args:
            times: of the series.
            values: of the series.
            mask: True where a value was observed.
            queries: times, in any order.
        """
        path = run_cell(self.cell, times, values, mask)

        def one(t: Array) -> Array:
            last = jnp.searchsorted(times, t) - 1
            some = (last >= 0) & path.seen[last]
            state = jax.tree.map(
                lambda after, start: jnp.where(some, after[last], start),
                path.after,
                self.cell.start(),
            )
            state = self.cell.evolve(state, jnp.where(some, times[last], t), t)
            return self.likelihood.mean(self.readout(self.cell.read(state)))

        return jax.vmap(one)(queries)

    def forecast(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time variables"],
        mask: Bool[Array, "time variables"],
        queries: Float[Array, " query"],
    ) -> Float[Array, "query variables"]:
        r"""Predictions after the last observation, each fed back as if it had been observed.

        $$ \hat x_j = \mathrm{readout}(\mathrm{evolve}(h_{j-1}; t_{j-1} \to t_j)), \qquad
           h_j = \mathrm{jump}(h'_j, \hat x_j) $$

        Args:
            times: of the series.
            values: of the series.
            mask: True where a value was observed.
            queries: times, increasing, none before the last of `times`.

        Raises:
            ValueError: the values are classes, whose prediction is no value.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> model = predictor("gru", 1, 8, key=jax.random.key(0))
            >>> times, values = jnp.arange(4.0), jnp.ones((4, 1))
            >>> mask = jnp.ones((4, 1), bool)
            >>> model.forecast(times, values, mask, jnp.array([4.0, 5.0, 6.0])).shape
            (3, 1)

        Source: Chen et al., arXiv 1806.07366, section 5.1: the recurrent net beside the latent ODE.
        """
        if self.likelihood.kind == "classes":
            raise ValueError(
                "`forecast` feeds predicted values back, and of classes probabilities are "
                "predicted; use `predict`."
            )
        path = run_cell(self.cell, times, values, mask)
        start = jnp.where(path.seen[-1], times[-1], queries[0])

        def step(carry: tuple, t: Array) -> tuple[tuple, Array]:
            state, before = carry
            state = self.cell.evolve(state, before, t)
            said = self.likelihood.mean(self.readout(self.cell.read(state)))
            return (self.cell.jump(state, said, jnp.ones(said.shape, bool)), t), said

        return jax.lax.scan(step, (path.last, start), queries)[1]


def predictor(
    kind: Kind,
    variables: int,
    size: int,
    *,
    width: int = 50,
    depth: int = 1,
    steps: int = 2,
    likelihood: AbstractLikelihood | None = None,
    dtype: Any = None,
    key: PRNGKeyArray,
) -> Predictor:
    """An ODE-RNN, a neural CDE that looks back only, or one of those they are compared with.

    Args:
        kind: "ode", "cde", "decay", "gru-d", "gru-gap" or "gru", as in `recurrent_cell`.
        variables: of the series.
        size: of the hidden state.
        width: of the hidden layers of the field, of "ode" and "cde".
        depth: their number.
        steps: for each gap, of "ode" and "cde".
        likelihood: how values scatter, of `pb.models.likelihoods` or your own; `Normal(0.1)`, whose
            deviation is fixed, when None.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: there is no such kind, or a size is below 1.

    Example:
        >>> import jax
        >>> predictor("gru-d", 3, 8, key=jax.random.key(0)).readout.out_features
        3

    Source: Rubanova et al., arXiv 1907.03907, table 2.
    """
    cell_key, readout_key = jr.split(checked_key(key))
    cell = recurrent_cell(
        kind, variables, size, width=width, depth=depth, steps=steps, dtype=dtype, key=cell_key
    )
    likelihood = Normal(0.1) if likelihood is None else likelihood
    readout = linear_readout(cell.features, variables, likelihood, dtype=dtype, key=readout_key)
    return Predictor(cell, readout, likelihood)


@checked_by(check_observations)
def one_step_loss(
    model: Predictor, batch: Observations, *, key: PRNGKeyArray
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""The mean negative log-likelihood of an observed value given its past, for `pb.train.fit`.

    $$ L = -\frac1N \sum_{n,i} \log p(x_i^{(n)} \mid x_{<i}^{(n)}) $$

    Args:
        model: the predictor.
        batch: series.
        key: not used.

    Returns:
        The loss in nats for each observed value, and the metric `mse` of the same predictions; of
        classes, Brier's score.

    Example:
        >>> import jax, numpy as np, pullback as pb
        >>> series = pb.data.irregular_series([(np.arange(3.0), np.ones(3))])
        >>> model = predictor("gru", 1, 4, key=jax.random.key(0))
        >>> batch = pb.models.timeseries.observations(series)
        >>> loss, metrics = one_step_loss(model, batch, key=jax.random.key(1))
        >>> sorted(metrics)
        ['mse']

    Source: Rubanova et al., arXiv 1907.03907, section 3.4.
    """
    key = checked_key(key)
    params = jax.vmap(model.outputs)(*batch)
    number = jnp.maximum(jnp.sum(batch.mask), 1).astype(params.dtype)
    log_prob, error = scores(model.likelihood, params, batch.values, batch.mask)
    return -jnp.sum(log_prob) / number, {"mse": jnp.sum(error) / number}
