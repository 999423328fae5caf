"""Every public loss: one shape, one name, a check of the data, and what a failed solve says."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import pullback
from pullback import ode
from pullback.bounds import ELBO, AbstractFamily, Beta
from pullback.data import irregular_series
from pullback.models import bayes, energy, flows, ode_net, timeseries, vae
from pullback.nn import ConcatMLP
from pullback.sampling import StandardNormal
from pullback.train import TrainingError, evaluate, fit

KEY = jr.key(0)
EULER = diffrax.Euler()  # the least that there is to compile
ROWS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)))
LABELS = jnp.arange(4) % 2


class Flows(AbstractFamily):
    """A CNF for each example."""

    shape: tuple = eqx.field(static=True)
    field: ConcatMLP

    def __call__(self, params):
        moved = eqx.tree_at(
            lambda f: f.layers[-1].bias, self.field, replace_fn=lambda b: b + params[:1]
        )
        return flows.CNF(moved, StandardNormal(1), solver=EULER, steps=1)

    def augment(self, model, params):
        return model


class Case(NamedTuple):
    """What a loss is asked with. `solves`: whether there is a solver in the model."""

    loss: Callable[..., Any]
    model: Any
    data: Any
    solves: bool


def series(make, model, loss, solves=True):
    rows = irregular_series([([0.0, 0.4, 1.0], [0.1, 0.4, value]) for value in range(4)])
    return Case(loss, model, make(timeseries.observations(rows)), solves)


def auto_encoder():
    made = vae.mlp_vae(2, latent=1, width=2, likelihood=vae.Normal(), key=KEY)
    return eqx.tree_at(lambda v: v.family, made, Flows((2,), ConcatMLP(1, 2, 1, key=KEY)))


def predicted():
    return vae.mlp_vae(2, latent=1, width=2, likelihood=vae.Normal(), key=KEY)


def flow():
    field = ConcatMLP(2, width=2, depth=1, key=KEY)
    return flows.CNF(field, StandardNormal(2), solver=EULER, steps=1)


def hybrid():
    residual = flows.residual_flow(2, blocks=1, width=2, key=KEY)
    return flows.HybridFlow(residual, eqx.nn.Linear(2, 2, key=KEY))


def classifier():
    block = lambda field: ode_net.ODEBlock(field, solver=EULER, steps=1)
    return ode_net.mlp_ode_net(2, 2, dim=2, width=2, block=block, key=KEY)


def latent_ode():
    made = timeseries.latent_ode(1, latent=2, encoder="rnn", steps=1, key=KEY)
    return eqx.tree_at(lambda m: m.solver, made, EULER, is_leaf=lambda leaf: leaf is None)


def random_weights():
    prior = bayes.OUPrior(sigma=0.3)
    return bayes.mlp_sde_bnn(2, 2, prior=prior, dim=2, width=2, steps=1, key=KEY)


SEEN, WHOLE = timeseries.TrainingSeries, lambda observed: observed
CASES: dict[str, Callable[[], Case]] = {
    "BoundLoss": lambda: Case(vae.BoundLoss(ELBO()), auto_encoder(), ROWS, True),
    "ObjectiveLoss": lambda: Case(
        vae.ObjectiveLoss(Beta(), kl="sampled"), auto_encoder(), ROWS, True
    ),
    "PropertyLoss": lambda: Case(
        vae.PropertyLoss(Beta()), (predicted(), eqx.nn.Linear(1, 1, key=KEY)),
        (ROWS, ROWS[:, :1]), False,
    ),
    "maximum_likelihood_loss": lambda: Case(flows.maximum_likelihood_loss, flow(), ROWS, True),
    "HybridLoss": lambda: Case(flows.HybridLoss(), hybrid(), (ROWS, LABELS), False),
    "ScoreMatchingLoss": lambda: Case(
        energy.ScoreMatchingLoss(), energy.LinearICA(jnp.eye(2)), ROWS, False
    ),
    "classification_loss": lambda: Case(
        ode_net.classification_loss, classifier(), (ROWS, LABELS), True
    ),
    "SDEBNNLoss": lambda: Case(bayes.SDEBNNLoss(4), random_weights(), (ROWS, LABELS), True),
    "LatentODELoss": lambda: series(SEEN, latent_ode(), timeseries.LatentODELoss()),
    "LatentSDELoss": lambda: series(
        SEEN, timeseries.latent_sde(1, latent=2, steps=1, key=KEY), timeseries.LatentSDELoss()
    ),
    "one_step_loss": lambda: series(
        WHOLE, timeseries.predictor("ode", 1, 2, width=2, steps=1, key=KEY),
        timeseries.one_step_loss, solves=False,  # steps of its own, with no code
    ),
    "recurrent_vae_loss": lambda: series(
        SEEN, timeseries.recurrent_vae(1, latent=2, size=2, encoder_size=2, key=KEY),
        timeseries.recurrent_vae_loss, solves=False,
    ),
    "event_loss": lambda: series(
        WHOLE, timeseries.PoissonProcess(1, latent=2, width=2, key=KEY), timeseries.event_loss
    ),
}  # fmt: skip

# What is no loss of a model: a loss made of another one.
OTHERS = {"JointLoss"}
# What the players of a game make small: of logits, and of no model.
OF_LOGITS = {"generator_loss", "discriminator_loss"}


def test_what_is_called_a_loss_has_a_name_of_its_own_and_the_shape_of_one():
    found: dict[str, set[Any]] = {}
    for info in pkgutil.walk_packages(pullback.__path__, "pullback."):
        if any(part.startswith("_") or part == "recipes" for part in info.name.split(".")):
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            if name.lower().endswith("loss") and not name.startswith("_"):
                found.setdefault(name, set()).add(value)
    assert set(found) == set(CASES) | OTHERS | OF_LOGITS
    for name, values in found.items():
        (value,) = values
        if name in OF_LOGITS:
            continue
        call = value.__call__ if inspect.isclass(value) else value
        assert inspect.isclass(value) == name.endswith("Loss"), name
        parameters = list(inspect.signature(call).parameters.values())[inspect.isclass(value) :]
        kinds = [p.kind for p in parameters]
        assert len(kinds) >= 3, name
        assert kinds[:2] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 2, name
        assert {p.name for p in parameters[2:]} <= {"key", "step"}, name
        assert parameters[2].name == "key", name
        assert parameters[2].default is inspect.Parameter.empty, name


def stacked(model):
    return jax.tree.map(lambda leaf: leaf[None] if eqx.is_array(leaf) else leaf, model)


GIVEN = {"optimiser": optax.sgd(1e-3), "steps": 1, "batch_size": 2}


@pytest.mark.parametrize("name", CASES)
def test_each_trains_scores_and_says_what_failed(name):
    loss, model, data, solves = CASES[name]()
    value, metrics = eqx.filter_eval_shape(loss, model, data, key=KEY)
    assert value.shape == ()
    assert jnp.issubdtype(value.dtype, jnp.floating)
    assert all(jnp.shape(metric) == () for metric in metrics.values())
    _, info = fit(model, loss, data, key=KEY, **GIVEN)
    assert np.isfinite(info.lines()[0]["loss"])
    assert set(metrics) <= set(info.lines()[0])
    score = evaluate(model, loss, data, batch_size=4, key=KEY)
    assert np.isfinite(score["loss"])
    assert set(score) == {"loss", *metrics}
    if solves:
        broken = jax.tree.map(
            lambda leaf: jnp.full_like(leaf, jnp.nan) if eqx.is_inexact_array(leaf) else leaf, model
        )
        with pytest.raises(TrainingError, match="a solver failed") as caught:
            fit(broken, loss, data, key=KEY, **GIVEN)
        assert caught.value.metrics["result"] != ode.Result.SUCCESSFUL


QUICK = ("classification_loss", "ScoreMatchingLoss", "one_step_loss")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_each_trains_a_stack(name):
    loss, model, data, _ = CASES[name]()
    _, alone = fit(model, loss, data, key=KEY, **GIVEN)
    _, told = fit(stacked(model), loss, data, key=KEY[None], **GIVEN)
    np.testing.assert_allclose(told.history["loss"][0], alone.history["loss"], rtol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_each_refuses_bad_data_before_any_step(name):
    loss, model, data, _ = CASES[name]()
    bad = jax.tree.map(
        lambda x: x.at[2].set(jnp.nan) if jnp.issubdtype(x.dtype, jnp.inexact) else x, data
    )
    labels = (
        (data[0], data[1].at[1].set(7)) if isinstance(data, tuple) and data[1] is LABELS else bad
    )
    for wrong, words in ((bad, "finite|Normal"), (labels, "labels|finite|Normal")):
        with pytest.raises(ValueError, match=words):
            fit(model, loss, wrong, key=KEY, **GIVEN)
        with pytest.raises(ValueError, match=words):
            fit(model, loss, data, validation=wrong, key=KEY, **GIVEN)
        with pytest.raises(ValueError, match=words):
            fit(stacked(model), loss, wrong, key=KEY[None], **GIVEN)
        with pytest.raises(ValueError, match=words):
            evaluate(model, loss, wrong, batch_size=4, key=KEY)
