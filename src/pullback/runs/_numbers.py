"""Numbers as a reader wants them."""

import math


def number(value: str | float | int | None) -> str:
    """A table cell as text: four significant digits, thousands apart, `–` for nothing.

    Example:
        >>> [number(x) for x in (3, 17418, 0.123456, 12345.6, 1.5e-6, float("nan"), None, "text")]
        ['3', '17,418', '0.1235', '12,346', '1.5e-06', 'nan', '–', 'text']
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    if 1e4 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def measured(value: float | int | str, spread: float | int | str | None, unit: str = "") -> str:
    """A measured figure with its spread, to two significant digits of the spread.

    Args:
        value: The figure; `claims.json` keeps NaN and infinity as text, which is taken too.
        spread: Its standard deviation over the seeds, or `None`.
        unit: Written after the figure.

    Example:
        >>> measured(1.66341, 0.0521, "nats"), measured(2e-4, None), measured(3.2e-7, 4e-8)
        ('1.663 ± 0.052 nats', '0.0002', '3.2e-07 ± 4e-08')
    """
    value = float(value)
    text = number(value)
    if spread is not None:
        spread = float(spread)
        decimals = max(0, 1 - math.floor(math.log10(spread))) if 0 < spread < math.inf else None
        if decimals is not None and decimals <= 5 and abs(value) < 1e7:
            text = f"{value:,.{decimals}f} ± {spread:,.{decimals}f}"
        else:
            text += f" ± {spread:.2g}"
    return f"{text} {unit}".rstrip()
