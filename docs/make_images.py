"""Draw the pictures of the README that are not of a recipe: `python docs/make_images.py`."""

import tempfile
from pathlib import Path

from pullback import data, tasks

IMAGES = Path(__file__).parent / "images"
COLUMNS = ["bmi", "bp", "s5", "progression"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = data.fetch("diabetes", folder) / "diabetes.csv"
        model = tasks.FlowDensity(columns=COLUMNS, random_state=0, progress=False).fit(file)
        picture = model._report(file).parts[0]
    picture.figure.savefig(IMAGES / "fit-density.png", dpi=90)


if __name__ == "__main__":
    main()
