"""The papers that there are, in a form that costs nothing to read, and their experiments."""

import functools
import importlib
import os
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pullback._names import did_you_mean
from pullback.runs import Experiment

# In `paper.toml`, of an experiment that makes its data.
SIMULATED = "simulated"


@dataclass(frozen=True)
class Known:
    """What a paper is known for, in its own words and figures.

    Args:
        says: The headline, in a sentence.
        figure: The paper's own figures, with their setting.
        reason: Why it is not reproduced here, and what was tried; empty where it is.
    """

    says: str
    figure: str
    reason: str = ""


@dataclass(frozen=True)
class Paper:
    """What the `paper.toml` of a folder says; reading it imports no recipe and no jax.

    Args:
        name: What `pullback run` calls it.
        module: The folder as a package: its `Config`, `PRESETS` and `run` are the experiment.
        title: The paper's title.
        arxiv: The paper's arXiv identifier.
        authors: The paper's authors.
        year: The year of its first version.
        summary: One line about what is measured.
        data: The experiments on other data, each a module of the folder, and what they read: a set
            by its name, or several as "one and another".
        task: The command that does the same with a file of the user's own, if there is one.
        headline: What the paper is known for; `None` where it was not written down yet.
    """

    name: str
    module: str
    title: str
    arxiv: str
    authors: tuple[str, ...]
    year: int
    summary: str
    data: dict[str, str] = field(default_factory=dict)
    task: str | None = None
    headline: Known | None = None

    @property
    def bibtex(self) -> str:
        """The paper as a BibTeX entry."""
        surname = self.authors[0].split()[-1].lower()
        word = self.title.split()[0].strip(":").lower()
        return (
            f"@misc{{{surname}{self.year}{word},\n"
            f"  title = {{{{{self.title}}}}},\n"
            f"  author = {{{' and '.join(self.authors)}}},\n"
            f"  year = {{{self.year}}},\n"
            f"  eprint = {{{self.arxiv}}},\n"
            "  archivePrefix = {arXiv},\n"
            f"  url = {{https://arxiv.org/abs/{self.arxiv}}},\n"
            "}"
        )


@functools.cache
def papers() -> dict[str, Paper]:
    """Each paper by its name, in the order of the alphabet."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*/paper.toml")):
        name, entry = file.parent.name.replace("_", "-"), tomllib.loads(file.read_text())
        entry["authors"] = tuple(entry["authors"])
        if "headline" in entry:
            entry["headline"] = Known(**entry["headline"])
        found[name] = Paper(name, f"pullback.recipes.{file.parent.name}", **entry)
    return found


def find(name: str) -> tuple[Paper, str | None]:
    """The paper of the experiment `name`, and the data that it is on: `jem/mnist`, or None: `jem`.

    Raises:
        ValueError: There is no such experiment; the message gives the nearest name.

    Example:
        >>> find("neural_ode")
        Traceback (most recent call last):
        ValueError: there is no recipe 'neural_ode'; did you mean 'neural-ode'? (recipes: ...)
    """
    paper, _, part = name.partition("/")
    known = papers()
    if paper not in known:
        hint = did_you_mean(paper, known)
        raise ValueError(f"there is no recipe {paper!r}{hint} (recipes: {', '.join(known)})")
    if name != paper and part not in known[paper].data:
        parts = [f"{paper}/{each}" for each in known[paper].data]
        raise ValueError(
            f"there is no recipe {name!r}; of this paper there are: {', '.join([paper, *parts])}"
        )
    return known[paper], part or None


def module_of(name: str) -> str:
    """The module of the experiment `name`, without importing it.

    Raises:
        ValueError: There is no such experiment; the message gives the nearest name.
    """
    paper, part = find(name)
    return paper.module if part is None else f"{paper.module}.{part}"


def load(name: str) -> Experiment:
    """Import the experiment `name`.

    Raises:
        ValueError: There is no such experiment; the message gives the nearest name.
    """
    paper, part = find(name)
    found = importlib.import_module(module_of(name))
    return Experiment(
        name=name,
        arxiv=paper.arxiv,
        title=paper.title,
        summary=paper.summary,
        config=found.Config,
        presets=found.PRESETS,
        run=found.run,
        **({} if part is None else {"reads": functools.partial(reads, paper.data[part])}),
    )


def check_data(name: str, data: Path | None, *, to_run: bool = True) -> None:
    """Check that the experiment `name` can read `data`, before anything heavy is imported.

    Args:
        name: An experiment.
        data: What the user named as data, or None.
        to_run: Whether it is to be read now; else it need not be there.

    Raises:
        ValueError: There is no such experiment, or it takes no such data; the message says what it
            takes, and which command is for a file of the user's own.
        DataError: The data set that it is on is not there.
    """
    paper, part = find(name)
    # `os.path` answers for a name that is too long to be a file's, and `Path` raises.
    folder = data is not None and os.path.isdir(data)
    if part is not None:
        of = paper.data[part]
        if data is not None and of == SIMULATED:
            raise ValueError(f"--data {data}: {name} does not take data; it makes its own")
        if data is not None and to_run and not folder:
            raise ValueError(f"--data {data}: {name} takes the folder with {of}{_own(paper, data)}")
        if to_run:
            reads(of, data)
    elif data is not None:
        takes = [
            f"{name}/{part} --data DIR ({of})" for part, of in paper.data.items() if of != SIMULATED
        ]
        raise ValueError(
            f"--data {data}: {name} does not take "
            + (f"it; there is: {'; '.join(takes)}" if takes else "data; it makes its own")
            + ("" if folder else _own(paper, data))
        )


def _own(paper: Paper, file: Path) -> str:
    """Where a file of the user's own is taken."""
    if paper.task is None:
        return ""
    command = paper.task.replace("FILE", shlex.quote(str(file)))
    return f". `run` is for papers; for a file of your own: pullback {command}"


def reads(of: str, data: Path | None) -> Sequence[Path]:
    """The files of a data set, or of several, in a folder, or where sets are looked for."""
    from pullback.data import locate

    if of == SIMULATED:
        return ()
    return tuple(file for name in of.split(" and ") for file in locate(name, data))
