"""A page that a script writes from recorded figures, and whether it still says what they say."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from pullback._files import atomic_write_text

ROOT = Path(__file__).parent.parent


def parser_of(script: str, about: str, *, results: Path, page: str) -> argparse.ArgumentParser:
    """The flags of a script that writes a page: where from, where to, and whether to check."""
    parser = argparse.ArgumentParser(
        prog=script, description=about, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / page)
    return parser


def write_or_check(options: argparse.Namespace, script: str, page: Callable[[Path], str]) -> int:
    """Write the page that the results make, or say that the one there is another."""
    wanted = page(options.results)
    if not options.check:
        atomic_write_text(options.page, wanted)
        return 0
    if options.page.exists() and options.page.read_text() == wanted:
        return 0
    print(f"{options.page} is stale; run: python docs/{script}", file=sys.stderr)
    return 1
