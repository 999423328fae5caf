"""Logos of sequences: which letters stand at each place, and how surely."""

from typing import Any

from pullback._extras import extra


def sequence_logo(ax: Any, frequencies: Any, alphabet: str = "ACGT") -> None:
    r"""Draw a logo, by logomaker: each letter as high as the information that it carries, in bits.

    $$ h_{lk} = p_{lk} \Big( \log_2 V + \sum_j p_{lj} \log_2 p_{lj} \Big) $$

    Args:
        ax: axes of Matplotlib, which are filled.
        frequencies: how often each letter stands at each place, an array `[length, letters]`; rows
            sum to 1.
        alphabet: the letters of the columns.

    Raises:
        ValueError: the columns are not as many as the letters, or a row does not sum to 1.
        ImportError: logomaker is not installed.

    Example:
        >>> import numpy as np
        >>> from pullback.plots import figure
        >>> fig, ax = figure(height=1.2)
        >>> sequence_logo(ax, np.array([[0.9, 0.1, 0, 0], [0.25, 0.25, 0.25, 0.25]]))
        >>> ax.get_ylabel()
        'bits'

    Source: Schneider and Stephens, Sequence logos, Nucleic Acids Research 18, 1990.
    """
    import numpy as np

    rows = np.asarray(frequencies, np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(alphabet) or not len(rows):
        raise ValueError(
            f"`frequencies` must have a row for each place and a column for each letter of "
            f"{alphabet!r}, got {rows.shape}."
        )
    if not np.allclose(rows.sum(axis=1), 1, atol=1e-3) or rows.min() < 0:
        raise ValueError("`frequencies` must be shares, of which each row sums to 1.")
    logomaker = extra("logomaker", "dna")
    shares = rows / rows.sum(axis=1, keepdims=True)
    frame = extra("pandas", "dna").DataFrame(shares, columns=list(alphabet))
    colours = "classic" if set(alphabet) <= set("ACGTU") else "chemistry"
    shown = logomaker.transform_matrix(frame, from_type="probability", to_type="information")
    logomaker.Logo(shown, ax=ax, color_scheme=colours, font_name="DejaVu Sans", show_spines=False)
    most = float(np.log2(len(alphabet)))
    ax.set_ylim(0, most)
    ax.set_yticks([0, most], ["0", f"{most:.3g}"])
    ax.set_ylabel("bits")
    ax.grid(visible=False)
    every = max(1, min(len(rows), 5 * -(-len(rows) // 40)))
    ticks = np.arange(every - 1, len(rows), every)
    ax.set_xticks(ticks, [str(place + 1) for place in ticks])
