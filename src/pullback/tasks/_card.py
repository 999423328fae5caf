"""What a fitted model says of itself."""

import shlex
from pathlib import Path

from ._density import FlowDensity


def card(model: FlowDensity, folder: Path) -> str:
    """Data, columns, how good the fit is and beside what, and what to do next.

    Args:
        model: fitted.
        folder: where it is saved, for the commands.
    """
    steps = f"{model.n_steps_} training steps" if model.n_steps_ else "no training step"
    lines = [
        f"{type(model).__name__}({model.method!r}) of {model.data_['source']}: "
        f"{model.data_['rows']} rows, {steps}",
        f"columns: {', '.join(model.columns_)}",
        *([f"rows are named by: {model.id_column_}"] if model.id_column_ else []),
        *model.notes_,
        f"An anomaly is a row below {model.offset_:.6g} nats: "
        f"{100 * model.contamination:g} % of the rows fitted.",
        "next:",
        *(f"  {command}" for command in commands(folder)),
    ]
    return "\n".join(lines)


def commands(folder: Path) -> list[str]:
    """What to do with a saved model."""
    name = shlex.quote(str(folder))
    return [
        f"pullback score {name} FILE --out scores.csv",
        f"pullback sample {name} -n 1000 --out samples.csv",
        f'python -c "import pullback as pb; print(pb.tasks.load({str(folder)!r}).notes_)"',
    ]
