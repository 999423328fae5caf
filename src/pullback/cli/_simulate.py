"""`pullback simulate`: paths of a saved field."""

from pathlib import Path
from typing import Annotated

import tyro

from pullback.cli._common import BadUsage, as_file, check_out, in_one_line, set_up_jax
from pullback.cli._reading import AS_IT_LOOKS, Read
from pullback.cli._use import Model, Out, told

OptionalFile = Annotated[
    Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE", help_behavior_hint="")
]
_MOST = 1_000_000  # times


def simulate(
    model: Model,
    out: Out,
    until: float,
    starts: OptionalFile = None,
    start: Annotated[str | None, tyro.conf.arg(metavar="A=1,B=2", help_behavior_hint="")] = None,
    since: Annotated[float, tyro.conf.arg(name="from", metavar="TIME")] = 0.0,
    every: Annotated[float | None, tyro.conf.arg(metavar="STEP", help_behavior_hint="")] = None,
    level: float = 0.9,
    reading: Read = AS_IT_LOOKS,
) -> int:
    """Simulate paths of a saved model of dynamics, with bands, as a long table.

    Args:
        model: The folder that `pullback fit dynamics` wrote.
        starts: A file with an initial state in each row; - reads CSV from standard input.
        start: One initial state, in place of FILE: each column and its number.
        out: The CSV or Parquet file to write; - writes CSV to standard output.
        until: The time at which the paths end.
        since: The time at which the paths start.
        every: The step between the times that are written (default: a hundredth of the whole).
        level: The share of measurements that the bands should hold.
    """
    check_out(out, starts)
    if (start is None) == (starts is None):
        raise BadUsage("give either --start A=1,B=2 or a file of starts")
    span = until - since
    step = abs(span) / 100 if every is None else every
    if span == 0 or not step > 0:
        raise BadUsage(f"--until must not be --from, and --every above 0; got {until:g}, {step:g}")
    if not 0 < level < 1:
        raise BadUsage(f"--level must be between 0 and 1, got {level:g}")
    if abs(span) / step > _MOST:
        raise BadUsage(f"--every {step:g} makes more than {_MOST} times")
    state = None if start is None else _state(start)
    set_up_jax()
    import numpy as np

    from pullback import data, tasks

    count = int(np.floor(abs(span) / step * (1 + 1e-12)))
    times = since + np.sign(span) * step * np.arange(count + 1)
    if abs(times[-1] - until) > 1e-9 * abs(span):
        times = np.append(times, until)
    with in_one_line():
        field = tasks.load(model)
        if not isinstance(field, tasks.DynamicsModel):
            raise BadUsage(
                f"{model} is no model of dynamics; `pullback show {model}` says what it is"
            )
        if state is not None:
            _check_state(state, field.columns_)
            number = tasks.simulate_file(field, state, times, out, level=level)
        else:
            with as_file(Path(str(starts))) as path:
                table = data.read_mixed(path, **reading.given())
            number = tasks.simulate_file(field, table, times, out, level=level)
    told(f"{number} {'path' if number == 1 else 'paths'} of {len(times)} times", out)
    return 0


def _state(text: str) -> dict[str, float]:
    state = {}
    for part in text.split(","):
        name, equals, value = part.rpartition("=")
        try:
            state[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise BadUsage(f"--start must be like a=1,b=2; {part!r} is not")
    return state


def _check_state(state: dict[str, float], columns: tuple[str, ...]) -> None:
    missing = [name for name in columns if name not in state]
    unknown = [name for name in state if name not in columns]
    if missing or unknown:
        raise BadUsage(
            f"--start must have the states {', '.join(columns)}"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; unknown: {', '.join(unknown)}" if unknown else "")
        )
