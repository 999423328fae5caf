"""What counts as a hole: a cell of a file, or of a data frame, that holds nothing."""

# In small letters. Whatever reads cells of numbers, kinds or classes asks here.
HOLES = ("", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none", "?")


def is_missing(cell: object) -> bool:
    """Whether a cell of a frame holds nothing: None, NaN, or pandas' NA or NaT."""
    try:
        return cell is None or bool(cell != cell)
    except TypeError:  # of NA nothing is true or false
        return True


def is_hole(cell: object) -> bool:
    """Whether there is nothing in a cell.

    >>> [is_hole(cell) for cell in (None, float("nan"), " NA ", "?", "0", 0)]
    [True, True, True, True, False, False]
    """
    return cell.strip().lower() in HOLES if isinstance(cell, str) else is_missing(cell)


def is_word_for_none(cell: object) -> bool:
    """Whether a hole is a word, such as NA, that may be a name or a class of its own.

    >>> [is_word_for_none(cell) for cell in ("NA", "?", "", None)]
    [True, True, False, False]
    """
    return isinstance(cell, str) and bool(cell.strip()) and is_hole(cell)
