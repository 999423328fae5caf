"""Run both of each pair of docs/coming-from.md, theirs and ours, and compare what they answer.

python benchmarks/bench_coming_from.py
"""

import re
import sys
import warnings
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "coming-from.md"
# Of draws of their own, four standard errors of the difference; of a mass, what the grid leaves
# out; of what both have learned, its scale. All else is the same to rounding.
TOLERANCES = {
    "torchsde": 4 * 0.5 * (2 / 4000) ** 0.5,
    "NumPyro and Pyro": 0.1,
    "normflows": 0.02,
    "Surprise": 0.2,
}


def pairs(text: str) -> dict[str, tuple[str, str]]:
    """Theirs and ours by the title of the section; a section without theirs is left out."""
    found = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        theirs, ours = (
            re.findall(rf"^```{language}\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
            for language in ("py", "python")
        )
        if theirs:
            found[title] = (theirs[0], ours[0])
    return found


def answer(code: str, title: str) -> np.ndarray:
    """What the code leaves under that name."""
    scope: dict = {}
    exec(compile(code, title, "exec"), scope)
    found = scope["answer"]
    return np.asarray(found.detach() if hasattr(found, "detach") else found, float)


def main() -> int:
    warnings.simplefilter("ignore")  # peers warn of their own dependencies
    failed = False
    for title, codes in pairs(PAGE.read_text()).items():
        theirs, ours = (answer(code, title) for code in codes)
        agree = np.allclose(theirs, ours, atol=TOLERANCES.get(title, 1e-4), rtol=1e-4)
        failed |= not agree
        print(f"{title:20} {'the same' if agree else 'DIFFERENT'}  {theirs.ravel()} {ours.ravel()}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
