"""Keep a picture of a recorded run for the page of its method: `python docs/keep_picture.py RUN`.

RUN is the folder of a run that `pullback record` kept: its claims must be those in results/. The
first picture of the run's report is kept, or the one that is named: `RUN --figure curves.png`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from _page import ROOT
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pullback.runs import read_record

WIDTH = 900
COLOURS = 128


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="keep_picture.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--figure", help="the name of its file, where it is not the first")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images" / "methods")
    options = parser.parse_args(argv)
    try:
        name = _result_of(options.run, options.results)
        figure = _chosen(options.run, options.figure)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    _keep(options.run / figure["file"], figure, options.images / f"{name}.png")
    return 0


def _result_of(run: Path, results: Path) -> str:
    """The name of the result that a run was recorded as."""
    found = _figures(run)
    for path in sorted(results.glob("*.json")):
        if _figures(path) == found:
            return path.stem
    raise ValueError(f"{run} is no run that a file in {results} is of; record it first")


def _figures(run: Path) -> list[Any]:
    """What was measured; words may be mended after a run."""
    record = read_record(run)
    return [record["recipe"], *((claim["value"], claim["spread"]) for claim in record["claims"])]


def _chosen(run: Path, name: str | None) -> dict[str, Any]:
    """The entry of a picture among the contents of a run."""
    contents = json.loads((run / "contents.json").read_text())
    figures = {Path(item["file"]).name: item for item in contents if item["kind"] == "figure"}
    chosen = figures.get(name or next(iter(figures), ""))
    if chosen is None:
        drawn = ", ".join(figures) or "nothing"
        raise ValueError(f"{run} drew no {name or 'picture'}; it drew {drawn}")
    return chosen


def _keep(file: Path, figure: dict[str, Any], path: Path) -> None:
    """Write the picture, small, with what is said of it."""
    told = PngInfo()
    told.add_itxt("Caption", figure["caption"])
    told.add_itxt("Alt", figure["alt"] or figure["caption"])
    with Image.open(file) as image:
        small = image.convert("RGB")
        small.thumbnail((WIDTH, 4 * WIDTH))
        path.parent.mkdir(parents=True, exist_ok=True)
        small.quantize(COLOURS).save(path, pnginfo=told, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
