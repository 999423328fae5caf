"""What is learned inside of a loss: trained beside the model, or refused."""

import dis
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from pullback._checked_data import check_data
from pullback._key import checked_key
from pullback.train._gradient import AtStep


class JointLoss(eqx.Module):
    """A loss whose learned parts are trained beside the model.

    A control variate or a baseline has an objective of its own, whose gradient comes with the
    loss's. `fit` trains its first argument alone, so hand it the pair:

        joint = JointLoss(loss)
        (model, learned), info = fit((model, joint.learned), joint, data, ...)

    Args:
        loss: a loss of the model, as for `fit`, a PyTree.

    Attributes:
        learned: the parts of the loss that are learned, as they are at the start.

    Raises:
        ValueError: nothing in the loss's PyTree is learned.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from pullback.bounds import ELBO
        >>> from pullback.models.vae import Bernoulli, BoundLoss, mlp_vae
        >>> from pullback.sampling import Lax, NeuralControlVariate
        >>> from pullback.train import fit
        >>> net = eqx.nn.MLP(1, "scalar", 4, 1, jnp.tanh, key=jax.random.key(0))
        >>> loss = BoundLoss(ELBO(), Lax(NeuralControlVariate(net, temperature=None)))
        >>> vae = mlp_vae(4, latent=1, width=3, likelihood=Bernoulli(), key=jax.random.key(1))
        >>> joint = JointLoss(loss)
        >>> (vae, learned), _ = fit(
        ...     (vae, joint.learned), joint, jnp.ones((8, 4)), optimiser=optax.adam(1e-2), steps=3,
        ...     batch_size=4, key=jax.random.key(2))
        >>> before = loss.estimator.control_variate.net.layers[0].weight
        >>> after = joint.at(learned).estimator.control_variate.net.layers[0].weight
        >>> bool(jnp.any(before != after))
        True
    """

    loss: Callable[..., Any]

    def __check_init__(self):
        if not any(jax.tree.leaves(eqx.filter(p, eqx.is_inexact_array)) for p in self.learned):
            raise ValueError(
                "`loss` has no learned parts in its PyTree: give it to `fit` as it is; or, where "
                "it is a function that closes over an estimator, make it an `eqx.Module` that has "
                "the estimator as a field."
            )

    @property
    def learned(self) -> list[PyTree]:
        leaves = jax.tree.leaves(self.loss, is_leaf=_is_learner)
        return [leaf.learned_parts for leaf in leaves if _is_learner(leaf)]

    def at(self, learned: list[PyTree]) -> Callable[..., Any]:
        """The loss with these for its learned parts."""
        leaves, treedef = jax.tree.flatten(self.loss, is_leaf=_is_learner)
        parts = iter(learned)
        put = lambda leaf: eqx.tree_at(lambda e: e.learned_parts, leaf, next(parts))
        return jax.tree.unflatten(treedef, [put(x) if _is_learner(x) else x for x in leaves])

    def check(self, both: PyTree, data: PyTree) -> None:
        """As the loss's own; `fit` asks once."""
        check_data(self.loss, self._pair(both)[0], data)

    def __call__(
        self,
        both: PyTree,
        batch: PyTree,
        *,
        key: PRNGKeyArray,
        step: Int[Array, ""] | int | None = None,
    ) -> tuple[Any, Any]:
        key = checked_key(key)
        model, learned = self._pair(both)
        loss = self.at(learned)
        return (loss if step is None else AtStep(loss, jnp.asarray(step)))(model, batch, key=key)

    def _pair(self, both: Any) -> tuple[PyTree, list[PyTree]]:
        if isinstance(both, tuple) and len(both) == 2 and isinstance(both[1], list):
            if len(both[1]) == len(self.learned):
                return both
        raise TypeError(
            "`JointLoss` is a loss of the pair `(model, joint.learned)`: give `fit` the pair "
            f"instead of the model, and get the pair back; got {type(both).__name__}."
        )


def refuse_untrained(loss: Callable[..., Any]) -> None:
    """Raise a ValueError if something in a loss is learned, which would stay as it is.

    It is seen in a PyTree, in what a function closes over, and in what it reads of its module.
    """
    for part in _parts(loss, set(), getattr(inspect.unwrap(loss), "__globals__", None)):
        if jax.tree.leaves(eqx.filter(part.learned_parts, eqx.is_inexact_array)):
            raise ValueError(
                f"`loss` holds a {type(part).__name__} with arrays that are learned, and training "
                "moves those of `model` alone: they would stay as they are. Train both: `joint = "
                "JointLoss(loss)`, then `(model, learned), info = fit((model, joint.learned), "
                "joint, ...)`; a function that closes over the estimator takes it as a part of the "
                "model, `fit((model, estimator), loss, ...)`."
            )


def _is_learner(leaf: Any) -> bool:
    # By name, for what has learned parts lies on higher floors.
    return hasattr(type(leaf), "learned_parts") and leaf.learned_parts is not None


def _parts(node: Any, seen: set[int], module: dict[str, Any] | None) -> Iterator[Any]:
    """Everything learned that a loss can reach."""
    if id(node) in seen or isinstance(node, JointLoss | types.ModuleType | type | jax.Array):
        return
    seen.add(id(node))
    if _is_learner(node):
        yield node
        return
    match node:
        case types.FunctionType():
            children = [*_closed_over(node), *_read_globals(node, module)]
        case types.MethodType():
            children = [node.__self__, node.__func__]
        case functools.partial():
            children = [node.func, *node.args, *node.keywords.values()]
        case dict():
            children = list(node.values())
        case list() | tuple() | set() | frozenset():
            children = list(node)
        case _ if callable(node) and hasattr(node, "__wrapped__"):
            children = [node.__wrapped__]
        case eqx.Module():
            children = list(vars(node).values())
        case _:
            return
    for child in children:
        yield from _parts(child, seen, module)


def _closed_over(function: types.FunctionType) -> list[Any]:
    found = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not yet assigned
            continue
    return found


def _read_globals(function: types.FunctionType, module: dict[str, Any] | None) -> list[Any]:
    """What a function of the loss's own module reads there; a library's functions hold nothing."""
    if module is None or function.__globals__ is not module:
        return []
    codes, names = [function.__code__], set()
    while codes:
        code = codes.pop()
        codes += [const for const in code.co_consts if isinstance(const, types.CodeType)]
        names |= {
            step.argval
            for step in dis.get_instructions(code)
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
        }
    return [module[name] for name in names if name in module]
