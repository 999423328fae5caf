"""What `iterate` trains: a state of any kind, by a step of the user's own."""

import dataclasses
from collections.abc import Callable
from typing import Any, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from pullback.train._advice import refuse_traced
from pullback.train._checkpoint import Stored, check_same
from pullback.train._engine import DIVERGED, METRIC, Own, Program, Setup, program_of
from pullback.train._failures import raise_failure, what_failed
from pullback.train._identity import check_computes_the_same, identity_of
from pullback.train._info import Ending, TrainingInfo
from pullback.train._measure import Measure, checked_metrics
from pullback.train._plan import Plan
from pullback.train._run import AbstractJob, Failure, Run, info_of
from pullback.train._sources import Feed, Stream, draws, size_of
from pullback.train._store import mendable, save_failed
from pullback.train._structure import data_digest, fixed

_RESERVED = ("step", "rollbacks", "steps_per_second")
_SOLVER = 1


class UserStep(eqx.Module):
    """A step of the user's on the arrays of a state, and whether it is to be taken."""

    step: Callable[..., Any]
    rest: PyTree

    def __call__(
        self, own: None, arrays: PyTree, batch: PyTree, *, key: Array, step: Array
    ) -> tuple[PyTree, dict[str, Array], Array]:
        new, metrics = self.step(eqx.combine(arrays, self.rest), batch, key=key)
        metrics = _checked(metrics)
        diverged = jnp.asarray(metrics.pop("diverged", False))
        solver = metrics.get("result", jnp.asarray(0)) != 0
        broken = jnp.asarray(False)
        for value in metrics.values():
            broken = broken | ~jnp.isfinite(value)
        codes = [jnp.asarray(code, jnp.int32) for code in (_SOLVER, DIVERGED, METRIC)]
        reason = jnp.select([solver, diverged, broken], codes, jnp.asarray(0, jnp.int32))
        return eqx.filter(new, eqx.is_array), metrics, reason


def _checked(metrics: Any) -> dict[str, Array]:
    if not isinstance(metrics, dict) or any(jnp.shape(value) != () for value in metrics.values()):
        raise TypeError(
            "`step` must return the state and a dictionary of scalar metrics; got "
            f"{jax.tree.map(jnp.shape, metrics)} for the metrics."
        )
    for name in metrics:
        if name in _RESERVED or name.startswith("validation_"):
            raise ValueError(f"metric {name!r} has a name that the log uses itself; rename it.")
    return {name: jnp.asarray(value) for name, value in metrics.items()}


@dataclasses.dataclass(frozen=True)
class IterateJob(AbstractJob):
    """A training of `iterate`."""

    rest: PyTree
    setup: Setup
    program: Program
    feed: Feed
    measure: Callable[[PyTree], dict[str, np.ndarray]] | None
    identity: dict[str, Any]
    computes: dict[str, Any]

    keeps_state = False
    face, compared = "iterate", "`step` is"

    @classmethod
    def of(
        cls, plan: Plan, step: Callable[..., Any], arrays: PyTree, rest: PyTree,
        streams: dict[str, Stream], nameless: bool, feed: Feed, validation: Any,
    ) -> "IterateJob":  # fmt: skip
        """Trace what is trained, and describe it where it will be kept."""
        drawn = {name: s.data for name, s in streams.items() if draws(s.data)}
        several = tuple((name, s.batches) for name, s in streams.items() if s.batches)
        setup = Setup(UserStep(step, rest), drawn, nameless, plan.mesh, several)
        keys = plan.keys
        orders = {
            name: plan.each([jax.random.fold_in(k.order, n) for k in keys])
            for n, name in enumerate(streams)
            if name in drawn
        }
        runs = plan.place(Own(plan.each([k.loss for k in keys]), orders, None))
        program = program_of(
            "step", setup, runs, arrays, feed.shapes(), stack=plan.stack, watch=True,
            same_as=(step, *drawn.values()),
        )  # fmt: skip
        refuse_traced("iterate", program)
        measured = None
        if validation is not None:
            wants_loss = plan.patience is not None

            def score(given: None, own: None, arrays: PyTree, key: Array) -> dict[str, Array]:
                found = validation(eqx.combine(arrays, rest), key=key)
                return checked_metrics(found, wants_loss=wants_loss)

            measured = Measure(
                score, None, None, arrays, plan.each([k.evaluation for k in keys]),
                stack=plan.stack, name="validation", same_as=validation,
            )  # fmt: skip
        identity = {
            "examples": {name: size_of(s.data) for name, s in streams.items()},
            "batch sizes": {name: s.batch_size for name, s in streams.items()},
            "log_every": plan.log_every,
            "snapshot_every": plan.snapshot_every,
        }
        identity |= {"batches": dict(several)} if several else {}
        computes = {}
        if plan.folder is not None:
            identity |= {"data": {name: data_digest(s.data) for name, s in streams.items()}}
            computes = {"step": identity_of(step, program.step)}
            if measured is not None and plan.patience is not None:
                computes |= {"validation": identity_of(validation, measured.traced)}
        return cls(rest, setup, program, feed, measured, identity, computes)

    def parts(self, arrays: PyTree) -> dict[str, PyTree]:
        return {"state": arrays}

    def arrays(self, parts: dict[str, PyTree]) -> PyTree:
        return parts["state"]

    def kept(self, arrays: PyTree) -> PyTree:
        return arrays

    def header(self) -> dict[str, Any]:
        return {"fixed": fixed(self.rest), "computes": self.computes}

    def load(self, stored: Stored, start: PyTree) -> dict[str, PyTree]:
        file, header = stored.path, stored.header
        check_same(file, stored=header["fixed"], wanted=fixed(self.rest))
        for what, now in self.computes.items():
            if what not in mendable(header):
                check_computes_the_same(file, what, stored=header["computes"][what], wanted=now)
        return {"state": stored.part(start, "state")}

    def model(self, arrays: PyTree) -> PyTree:
        return eqx.combine(arrays, self.rest)

    def fail(self, plan: Plan, run: Run, failure: Failure | None) -> NoReturn:
        unwritten = save_failed(plan, self, run)
        kept = {
            "model": self.model(run.arrays),
            "info": self.info(plan, run, Ending.FAILED),
            "unwritten": unwritten,
        }
        if failure is None:
            assert self.measure is not None
            values = {n: float(np.ravel(v)[0]) for n, v in self.measure(run.arrays).items()}
            text = (
                f"Training stopped after step {run.step}: the validation failed. The state is kept"
            )
            raise_failure(text, step=run.step, values=values, **kept)
        text, values = what_failed(plan, self, run, failure)
        text = f"{text} The last snapshot is"
        raise_failure(text, step=failure.step, values=values, **kept)

    def info(self, plan: Plan, run: Run, ending: Ending) -> TrainingInfo:
        return info_of(plan, run, ending)
