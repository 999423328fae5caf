"""What `fit` trains: the parameters of a loss, an optimiser's state, and what the loss carries."""

import dataclasses
from collections.abc import Callable
from typing import Any, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from pullback.train._advice import bad_row, refuse_traced
from pullback.train._checkpoint import CheckpointError, Stored, check_same
from pullback.train._engine import Own, Program, Setup, program_of
from pullback.train._evaluate import means
from pullback.train._failures import failed_solves, raise_failure, what_failed
from pullback.train._gradient import AtStep, GradientStep, Trained, is_array_of
from pullback.train._identity import (
    another_optimiser,
    check_computes_the_same,
    draw_identity,
    identity_of,
    loss_identity,
    optimiser_identity,
)
from pullback.train._info import Ending, TrainingInfo
from pullback.train._measure import Measure, checked_metrics
from pullback.train._plan import Plan
from pullback.train._run import AbstractJob, Failure, Run, info_of
from pullback.train._sources import Feed, Stream, draws, size_of
from pullback.train._store import mendable, save_failed
from pullback.train._structure import data_digest, digests, fixed


def split_own(plan: Plan, loss: Callable[..., Any], rest: PyTree) -> tuple[PyTree, PyTree]:
    """The arrays of a loss and of a model that each run has of its own, and all that is shared."""
    if plan.stack is None:
        return eqx.partition((loss, rest), lambda leaf: False)
    own_loss, shared_loss = eqx.partition(loss, lambda leaf: eqx.is_array(leaf) and leaf.ndim > 0)
    for leaf in jax.tree.leaves(own_loss):
        if len(leaf) != plan.runs[0]:
            raise ValueError(
                f"the arrays of `loss` must have a row for each of the {plan.runs[0]} keys, or no "
                f"axis; got the shape {leaf.shape}."
            )
    own_rest, shared_rest = eqx.partition(rest, eqx.is_array)
    return (own_loss, own_rest), (shared_loss, shared_rest)


@dataclasses.dataclass(frozen=True)
class FitJob(AbstractJob):
    """A training of `fit`."""

    step: GradientStep
    own: PyTree
    trained: PyTree
    setup: Setup
    program: Program
    streams: dict[str, Stream]
    feed: Feed
    validation: Any
    measure: Callable[[PyTree], dict[str, np.ndarray]] | None
    measure_again: Callable[[PyTree], Any] | None
    identity: dict[str, Any]
    described: dict[str, Any]

    keeps_state = True
    face, compared = "fit", "`loss` and `optimiser` are"

    @classmethod
    def of(
        cls, plan: Plan, step: GradientStep, own: PyTree, start: Trained,
        streams: dict[str, Stream], feed: Feed, validation: Any,
    ) -> "FitJob":  # fmt: skip
        """Trace what is trained, and describe it where it will be kept."""
        stream = streams.get("", Stream(None))
        drawn = {"": stream.data} if draws(stream.data) else {}
        setup = Setup(step, drawn, True, plan.mesh)
        keys = plan.keys
        orders = {"": plan.each([k.order for k in keys])} if drawn else {}
        runs = plan.place(Own(plan.each([k.loss for k in keys]), orders, own))
        program = program_of(
            "loss", setup, runs, start, feed.shapes(), stack=plan.stack, watch=False,
            same_as=(step.loss, step.optimiser, *drawn.values()),
        )  # fmt: skip
        refuse_traced("fit", program)
        measured = again = None
        if validation is not None:
            score = _score_of(plan, stream, validation)
            held_out = None if draws(validation) else plan.place(validation)
            given = (step, held_out)
            evaluation = plan.each([k.evaluation for k in keys])
            measured = Measure(
                score, given, own, start, evaluation, stack=plan.stack,
                name="validation" if held_out is None else "loss",
                same_as=validation if held_out is None else step.loss,
            )  # fmt: skip
            again = lambda arrays: score(given, own, arrays, evaluation)
        identity = {
            "batch_size": stream.batch_size,
            "examples": size_of(stream.data) if streams else None,
            "clip_norm": step.clip_norm,
        }
        described = {}
        if plan.folder is not None:
            identity |= {"data": data_digest(stream.data)}
            if plan.patience is not None:  # the lowest loss so far is of the same held-out data
                identity |= {"validation": data_digest(validation)}
            described = _described(plan, step, own, start, setup, runs, feed)
            if measured is not None and plan.patience is not None and draws(validation):
                described |= {"validation": identity_of(validation, measured.traced)}
        return cls(
            step, own, is_array_of(start.params), setup, program, streams, feed, validation,
            measured, again, identity, described,
        )  # fmt: skip

    def parts(self, arrays: Trained) -> dict[str, PyTree]:
        return {
            "model": self.model(arrays),
            "optimiser": arrays.optimiser,
            "carried": arrays.carried,
        }

    def arrays(self, parts: dict[str, PyTree]) -> Trained:
        params = eqx.filter(parts["model"], self.trained)
        return Trained(params, parts["optimiser"], parts["carried"])

    def kept(self, arrays: Trained) -> dict[str, PyTree]:
        return {"params": arrays.params, "carried": arrays.carried}

    def header(self) -> dict[str, Any]:
        return self.described

    def load(self, stored: Stored, start: Trained) -> dict[str, PyTree]:
        file, header = stored.path, stored.header
        check_same(
            file,
            stored=header["trained"],
            wanted=self.described["trained"],
            remedy="Give the same `trainable`, or train the model on afresh: see `load_model`.",
        )
        check_same(file, stored=header["fixed"], wanted=self.described["fixed"])
        found = {}
        for name, like in self.parts(start).items():
            if name == "optimiser":
                self._check_computes(stored)
            try:
                found[name] = stored.part(like, name)
            except CheckpointError as error:
                raise another_optimiser(error) if name == "optimiser" else error from None
        return found

    def _check_computes(self, stored: Stored) -> None:
        for what in ("data", "loss", "optimiser", "validation"):
            before, now = (each.get(what) for each in (stored.header, self.described))
            if before and now and what not in mendable(stored.header):
                check_computes_the_same(stored.path, what, stored=before, wanted=now)

    def model(self, arrays: Trained) -> PyTree:
        return eqx.combine(arrays.params, self._rest)

    @property
    def _rest(self) -> PyTree:
        _, rest = eqx.combine(self.own, (self.step.loss, self.step.rest))
        return rest

    def fail(self, plan: Plan, run: Run, failure: Failure | None) -> NoReturn:
        unwritten = save_failed(plan, self, run)
        kept = {
            "model": self.model(run.arrays),
            "info": self.info(plan, run, Ending.FAILED),
            "unwritten": unwritten,
        }
        if failure is None:
            text, values = self._failed_validation(plan, run)
            raise_failure(text, step=run.step, values=values, **kept)
        text, values = what_failed(plan, self, run, failure)
        text = f"{text} The state after step {run.step} is kept"
        raise_failure(text, step=run.step + 1, values=values, **kept)

    def _failed_validation(self, plan: Plan, run: Run) -> tuple[str, dict[str, float]]:
        assert self.measure is not None
        assert self.measure_again is not None
        values = {name: float(np.ravel(v)[0]) for name, v in self.measure(run.arrays).items()}
        reason = "the loss on the validation data is not finite"
        if values.get("result", 0) != 0:
            reason = "a solver failed on the validation data (the metric `result` is not zero)"
        elif plan.stack is None:
            again = self.measure_again
            told = failed_solves(lambda: again(run.arrays))
            if told.lines:
                reason = f"a solver failed on the validation data ({told.lines[0]})"
                values |= {"result": float(told.codes[0])} if told.codes else {}
        row = "" if callable(self.validation) else bad_row(self.validation, name="validation")
        return f"Training stopped after step {run.step}: {reason}. {row}The state is kept", values

    def info(self, plan: Plan, run: Run, ending: Ending) -> TrainingInfo:
        carried = run.arrays.carried if plan.patience is None else run.best.kept["carried"]
        return info_of(plan, run, ending, optimiser_state=run.arrays.optimiser, state=carried)


def _score_of(plan: Plan, stream: Stream, validation: Any) -> Callable[..., dict[str, Array]]:
    """The validation of one run, as `Measure` takes it."""
    wants_loss, steps = plan.patience is not None, plan.steps
    batch_size, mesh = stream.batch_size, plan.mesh

    def score(
        given: tuple[GradientStep, PyTree], own: PyTree, state: Trained, key: Array
    ) -> dict[str, Array]:
        step, held_out = given
        loss, rest = eqx.combine(own, (step.loss, step.rest))
        model = eqx.nn.inference_mode(eqx.combine(state.params, rest))
        if held_out is None:
            return checked_metrics(validation(model, key=key), wants_loss=wants_loss)
        # On the held-out data a loss is told the last step, so that evaluations compare.
        at = AtStep(loss, jnp.asarray(steps, jnp.int32), state.carried)
        return means(
            model, at, held_out, batch_size or len(jax.tree.leaves(held_out)[0]), mesh, key
        )

    return score


def _described(
    plan: Plan, step: GradientStep, own: PyTree, start: Trained, setup: Setup, runs: Own, feed: Feed
) -> dict[str, Any]:
    """The parts that a resume needs the same, as text."""
    _, rest = eqx.combine(own, (step.loss, step.rest))
    data, places = feed.shapes()
    draw = setup.draws.get("")
    if draw is not None:
        batch = eqx.filter_eval_shape(draw, jr.key(0))
    elif not places:
        batch = None
    else:
        count = places[""].shape
        batch = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((*count, *leaf.shape[1:]), leaf.dtype), data[""]
        )
    one = lambda tree: jax.tree.map(
        lambda leaf: leaf[0] if plan.stack is not None and eqx.is_array(leaf) else leaf, tree
    )
    loss, one_rest = eqx.combine(one(own), (step.loss, step.rest))
    one_start = one(start)
    model = eqx.combine(one_start.params, one_rest)
    whole_loss, _ = eqx.combine(own, (step.loss, step.rest))
    return {
        "data": None if draw is None else draw_identity(draw, jr.key(0)),
        "fixed": fixed(rest),
        "trained": _which(start.params, rest),
        "loss": loss_identity(
            loss, model, batch, jnp.ravel(runs.key)[0], one_start.carried, whole=whole_loss
        ),
        "optimiser": optimiser_identity(step.optimiser, one_start.params, one_start.optimiser),
    }


def _which(params: PyTree, rest: PyTree) -> dict[str, str]:
    """Of each floating array, whether it is trained."""
    frozen = digests(eqx.filter(rest, eqx.is_inexact_array))
    return dict.fromkeys(digests(params), "trained") | dict.fromkeys(frozen, "frozen")
