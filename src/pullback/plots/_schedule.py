"""Hyperparameters over a training."""

from typing import TYPE_CHECKING, Any

from pullback.plots._style import PALETTE, figure

if TYPE_CHECKING:
    import matplotlib.figure

# Of an array with more entries each is a thin line, and the middle one a thick line.
_NAMED = 6


def schedule_figure(schedule: Any, *, columns: int = 3) -> "matplotlib.figure.Figure":
    """Draw every hyperparameter over a training, a panel for each array of them.

    Values hold from the step at which they were recorded to the next, as they were used. An axis of
    values above 0 that span two powers of ten is logarithmic.

    Args:
        schedule: a `pullback.bilevel.Schedule`, or what has its `steps` and `hyper`.
        columns: panels side by side.

    Returns:
        The figure.

    Raises:
        ValueError: `columns` is below 1, or there is nothing to draw.

    Example:
        >>> import numpy as np
        >>> from types import SimpleNamespace
        >>> from pullback.plots import house_style
        >>> hyper = {"dropout": np.asarray([0.1, 0.3]), "decay": np.asarray([1e-4, 1e-1])}
        >>> with house_style():
        ...     fig = schedule_figure(SimpleNamespace(steps=[0, 100], hyper=hyper))
        >>> [ax.get_title("left") for ax in fig.axes]
        ['decay', 'dropout']
    """
    import jax
    import numpy as np

    found, _ = jax.tree_util.tree_flatten_with_path(schedule.hyper)
    leaves = [(_name(path), np.asarray(leaf)) for path, leaf in found if np.ndim(leaf) > 0]
    if not leaves or columns < 1:
        raise ValueError(
            f"`schedule` must have an array to draw and `columns` must be 1 or more; got "
            f"{len(leaves)} arrays and {columns}"
        )
    columns = min(columns, len(leaves))
    rows = -(-len(leaves) // columns)
    fig, axes = figure(rows, columns, width=3.0 * columns, height=2.4 * rows)
    axes = list(np.ravel(axes))
    steps = np.asarray(schedule.steps)
    for ax, (name, values) in zip(axes, leaves, strict=False):
        entries = values.reshape(len(values), -1)
        many = entries.shape[1] > _NAMED
        for place, line in zip(np.ndindex(values.shape[1:]), entries.T, strict=True):
            index = "".join(f"[{at}]" for at in place)
            style = {"color": PALETTE[0], "alpha": 0.25, "linewidth": 0.7} if many else {}
            label = {} if many or not index else {"label": index}
            ax.plot(steps, line, drawstyle="steps-post", **style, **label)
        if many:
            ax.plot(steps, np.median(entries, axis=1), color=PALETTE[1], label="median")
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=7)
        if np.min(entries) > 0 and np.max(entries) > 100 * np.min(entries):
            ax.set_yscale("log")
        ax.set_title(name, fontsize=10)
    for ax in axes[len(leaves) :]:
        ax.set_visible(False)
    for ax in axes[-columns:]:
        ax.set_xlabel("training steps")
    return fig


def _name(path: tuple) -> str:
    """What a person calls it: without the last part, `value`, of a record."""
    keys = [getattr(k, "key", getattr(k, "idx", getattr(k, "name", ""))) for k in path]
    keys = keys[:-1] if len(keys) > 1 and keys[-1] == "value" else keys
    return ".".join(map(str, keys)) or "hyper"
