"""Maps between a support and the whole line, the same for densities and posteriors."""

import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num
from numpyro.distributions import biject_to, constraints

from pullback._promotion import standard_promotion

from ._support import described, membership, moved_inside, support_shape

_VECTORS = ("simplex", "ordered_vector", "positive_ordered_vector")


class _Part(NamedTuple):
    """Columns that are mapped together."""

    kind: str
    columns: tuple[int, ...]
    low: float = -math.inf
    high: float = math.inf

    def constraint(self) -> Any:
        """What the columns keep, as NumPyro says it."""
        if self.kind in _VECTORS:
            return getattr(constraints, self.kind)
        if self.kind == "whole numbers":
            if self.high == math.inf:
                return constraints.integer_greater_than(self.low)
            return constraints.integer_interval(self.low, self.high)
        return self.volume()

    def volume(self) -> Any:
        """The same of what is mapped to the line: of whole numbers with noise added."""
        if self.kind in _VECTORS:
            return getattr(constraints, self.kind)
        low, high = self.low, self.high + (self.kind == "whole numbers")
        match low > -math.inf, high < math.inf:
            case False, False:
                return constraints.real
            case True, False:
                return constraints.greater_than(low)
            case False, True:
                return constraints.less_than(high)
            case _:
                return constraints.open_interval(low, high)

    def line_size(self) -> int:
        return len(self.columns) - (self.kind == "simplex")


class SupportMap(eqx.Module):
    r"""Between vectors with a support and vectors of the line, column by column.

    $$ y = T^{-1}(x), \qquad T = \text{NumPyro's `biject\_to`} $$

    with exp, sigmoid and stick-breaking for what is positive, in an interval or on the simplex. A
    point on the simplex has one number less on the line, and its density is that of all its entries
    but the last, as that of `numpyro.distributions.Dirichlet` is. Whole numbers are spread over the
    unit interval above them by noise; see `to_line`.

    Args:
        size: entries of x.
        support: one for all columns, or a mapping from a column, or a tuple of columns, to one; the
            columns that it leaves out are of all numbers. One is a constraint of
            `numpyro.distributions.constraints` or its name there ("positive", "unit_interval",
            "simplex", "nonnegative_integer"), "integer", or a distribution whose support it is.
            None: all numbers.

    Attributes:
        line: entries of y.
        whole: how many columns are of whole numbers.

    Raises:
        ValueError: a support is not known, a column does not exist or is named twice, or a simplex
            has fewer than two columns.
        TypeError: a column is named by no number.

    Example:
        >>> import jax.numpy as jnp
        >>> both = SupportMap(4, {0: "positive", (1, 2, 3): "simplex"})
        >>> y, log_det = both.to_line(jnp.array([2.0, 0.2, 0.3, 0.5]))
        >>> print(y.shape, both.from_line(y).round(3))
        (3,) [2.  0.2 0.3 0.5]
    """

    size: int = eqx.field(static=True)
    line: int = eqx.field(static=True)
    whole: int = eqx.field(static=True)
    parts: tuple[_Part, ...] = eqx.field(static=True)

    def __init__(self, size: int, support: Any = None):
        if size < 1:
            raise ValueError(f"`size` must be 1 or more, got {size}.")
        given = support if isinstance(support, Mapping) else {tuple(range(size)): support}
        parts: dict[Any, list[int]] = {}
        taken: set[int] = set()
        for columns, one in given.items():
            columns = _columns(columns)
            for column in columns:
                if not 0 <= column < size or column in taken:
                    raise ValueError(
                        f"`support` must name columns from 0 to {size - 1}, each once at most, got "
                        f"{column} in {columns}."
                    )
                taken.add(column)
            for key, found in _parts_of(one, columns):
                parts.setdefault(key, []).extend(found)
        rest = [column for column in range(size) if column not in taken]
        if rest:
            parts.setdefault(("numbers", -math.inf, math.inf), []).extend(rest)
        self.parts = tuple(
            _Part(key[0], tuple(columns), *(key[1:] if key[0] not in _VECTORS else ()))
            for key, columns in parts.items()
        )
        self.size = size
        self.line = sum(part.line_size() for part in self.parts)
        self.whole = sum(len(p.columns) for p in self.parts if p.kind == "whole numbers")

    @property
    def support(self) -> Any:
        """The constraint of whole vectors; None where NumPyro has no word for it."""
        kinds = {part.kind for part in self.parts}
        if len(self.parts) == 1:
            one = self.parts[0].constraint()
            return one if one.event_dim else constraints.independent(one, 1)
        low, high = np.empty(self.size), np.empty(self.size)
        for part in self.parts:
            low[list(part.columns)], high[list(part.columns)] = part.low, part.high
        if kinds != {"numbers"} or not np.all(np.isfinite([low, high])):
            return None
        return constraints.independent(constraints.interval(low, high), 1)

    def to_line(
        self, x: Num[Array, " size"], noise: Float[Array, " whole"] | None = None
    ) -> tuple[Float[Array, " line"], Float[Array, ""]]:
        r"""The point on the line, and the log-determinant $\ln |\det \partial y / \partial x|$.

        Outside of the support it is $-\infty$, and y some finite point. What was rounded to an end
        is taken for the next number inside.

        Args:
            x: one point.
            noise: in [0, 1), added to the columns of whole numbers, in the order of `parts`. A
                density of x with uniform noise added has a mean logarithm below that of the
                probability of x: it is a bound.

        Raises:
            ValueError: there are whole numbers, and no noise.
        """
        if self.whole and noise is None:
            raise ValueError(
                f"`noise` is missing, [{self.whole}], for the columns of whole numbers."
            )
        x = jnp.asarray(x)
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            x = x.astype(float)
        line, total, used = [], jnp.zeros((), x.dtype), 0
        with standard_promotion():
            for part in self.parts:
                value = x if len(self.parts) == 1 else x[jnp.asarray(part.columns)]
                mask = membership(part.constraint(), value)
                if part.kind == "whole numbers" and noise is not None:
                    value = value + noise[used : used + len(part.columns)]
                    used += len(part.columns)
                volume = part.volume()
                value = _off_zero(part, moved_inside(volume, value, mask))
                onto = biject_to(volume)
                y: Any = onto._inverse(value)
                slopes = -jnp.asarray(onto.log_abs_det_jacobian(y, value))
                total = total + jnp.where(jnp.all(mask), jnp.sum(slopes), -jnp.inf)
                line.append(y.astype(x.dtype))  # stick-breaking counts in a dtype of its own
        y = line[0] if len(line) == 1 else jnp.concatenate(line)
        return y, total.astype(x.dtype)

    def from_line(self, y: Float[Array, " line"]) -> Float[Array, " size"]:
        """The point of the support."""
        found, start = [], 0
        with standard_promotion():
            for part in self.parts:
                end = start + part.line_size()
                value: Any = biject_to(part.volume())(y[start:end])
                start = end
                if part.kind == "whole numbers":
                    value = jnp.clip(jnp.floor(value), part.low, part.high)
                found.append(value.astype(y.dtype))
        if len(found) == 1:
            return found[0]
        order = np.argsort([column for part in self.parts for column in part.columns])
        return jnp.concatenate(found)[order]

    def check(self, x: Any, *, name: str = "data") -> None:
        """Raise ValueError for rows `[n, size]` that do not lie inside of the support."""
        x = np.asarray(x, dtype=np.result_type(np.asarray(x).dtype, np.float32))
        for part in self.parts:
            columns = x[:, list(part.columns)]
            bad = np.flatnonzero(~_inside(part, columns))
            if len(bad):
                more = "" if len(bad) == 1 else f", and so in {len(bad) - 1} more"
                where = (
                    f"column {part.columns[0]}"
                    if len(part.columns) == 1
                    else (f"columns {', '.join(map(str, part.columns))}")
                )
                raise ValueError(
                    f"`{name}` must lie inside of the support, in {where} "
                    f"{described(part.constraint())}, without its open ends; row {bad[0]} has "
                    f"{columns[bad[0]].tolist()}{more}."
                )


def _inside(part: _Part, x: np.ndarray) -> np.ndarray:
    if part.kind == "whole numbers":
        return np.all((x == np.floor(x)) & (x >= part.low) & (x <= part.high), axis=1)
    if part.kind == "numbers":
        return np.all((x > part.low) & (x < part.high), axis=1)
    held = np.asarray(membership(part.constraint(), jnp.asarray(x)))
    return held & (np.all(x > 0, axis=1) if part.kind == "simplex" else True)


def _off_zero(part: _Part, x: Array) -> Array:
    """A share of the simplex that was rounded to zero, as the least number above it."""
    return jnp.maximum(x, jnp.finfo(x.dtype).tiny) if part.kind == "simplex" else x


def _columns(key: Any) -> tuple[int, ...]:
    """One column or several, as a mapping names them."""
    try:
        return tuple(map(operator.index, key if isinstance(key, Iterable) else (key,)))
    except TypeError:
        raise TypeError(
            f"`support` must map a column's number, or a tuple of such, to what it keeps, got the "
            f"column {key!r}."
        ) from None


def _parts_of(one: Any, columns: tuple[int, ...]) -> list[tuple[tuple[str, Any, Any], Any]]:
    """The kinds of columns, and which are of each."""
    shape = support_shape(_constraint(one))
    if shape is None or shape.kind not in ("numbers", "whole numbers", *_VECTORS):
        raise ValueError(
            f"`support` must be of numbers or whole numbers between two ends, or a simplex or an "
            f"ordered vector, got {one!r}."
        )
    if shape.kind in _VECTORS:
        if len(columns) < 2:
            raise ValueError(
                f"`support` {shape.kind} is of two columns or more together, got {columns}."
            )
        return [((shape.kind, columns, math.inf), columns)]
    try:
        ends = np.broadcast_arrays(
            np.asarray(shape.low, float), np.asarray(shape.high, float), np.zeros(len(columns))
        )[:2]
    except ValueError as error:
        raise ValueError(
            f"`support` must have one pair of ends, or one for each of {len(columns)} columns."
        ) from error
    above = ends[1] + (shape.kind != "numbers") > ends[0]
    if np.shape(ends[0]) != (len(columns),) or not np.all(above):
        raise ValueError(
            f"`support` must have a lower end below the upper one for each of {len(columns)} "
            f"columns, got {shape.low} and {shape.high}."
        )
    return [
        ((shape.kind, low.item(), high.item()), [column])
        for column, low, high in zip(columns, *ends, strict=True)
    ]


def _constraint(one: Any) -> Any:
    if one is None:
        return constraints.real
    if isinstance(one, str):
        if one == "integer":
            return constraints.integer_greater_than(-math.inf)
        found = getattr(constraints, one, None)
        if not isinstance(found, constraints.Constraint):
            raise ValueError(
                f"`support` must be a name of `numpyro.distributions.constraints`, such as "
                f'"positive", "unit_interval", "simplex" or "nonnegative_integer", or "integer", '
                f"got {one!r}."
            )
        return found
    return one if isinstance(one, constraints.Constraint) else getattr(one, "support", one)
