"""What a recipe writes while it runs, and how a stopped run goes on."""

import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pullback._files import append_text, atomic_write, atomic_write_text
from pullback.runs._written import Written

if TYPE_CHECKING:
    import matplotlib.figure

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
Cell = str | float | int | None


class Context:
    """A run's folder and settings, handed to `Experiment.run`.

    What a run shows (figures, tables, notes, metrics) is gathered here in the order in which it is
    made. Work that takes long goes into `stage`, or into a training loop that keeps its checkpoint
    in `folder(name)`; a run that was killed at any moment then goes on where it stood.

    Args:
        root: The run's folder.
        seed: The base seed.
        resume: Whether stages and checkpoints that lie in `root` are taken up.
        progress: Whether to show progress bars, and say on stderr which stage begins.
        data: The file or folder that the user named with `--data`.
        files: What the run has written before; read from `root` when `None`.

    Example:
        >>> import tempfile
        >>> context = Context(Path(tempfile.mkdtemp()))
        >>> context.stage("squares", lambda count: [i**2 for i in range(count)], 4)
        [0, 1, 4, 9]
        >>> context.table("squares", ["i", "i squared"], [[2, 4], [3, 9]], "Squares.")
    """

    def __init__(
        self,
        root: Path,
        *,
        seed: int = 0,
        resume: bool = False,
        progress: bool = False,
        data: Path | None = None,
        files: Written | None = None,
    ):
        self.root = Path(root)
        self.seed = seed
        self.resume = resume
        self.progress = progress
        self.data = data
        self.contents: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._names: set[str] = set()
        self._depth = 0  # of stages in stages
        self._start = time.perf_counter()
        self.root.mkdir(parents=True, exist_ok=True)
        self._files = Written(self.root) if files is None else files
        # Finished stages put their rows back: a resumed run ends with the file of an unbroken one.
        atomic_write_text(self._files.claim("metrics.jsonl"), "")

    def figure(
        self, name: str, fig: "matplotlib.figure.Figure", caption: str, *, alt: str = ""
    ) -> None:
        """Save `fig` as `figures/NAME.png`, show it in the report, and close it.

        Args:
            name: The file's name, without an ending; used once a run.
            fig: A Matplotlib figure, best made by `pullback.plots.figure`.
            caption: What is seen and what it means, in a sentence or two.
            alt: The picture in words, for who cannot see it; the caption when empty.
        """
        file = f"figures/{self._claim_name('figure', name)}.png"
        image = io.BytesIO()
        fig.savefig(image, format="png", dpi=200, metadata={"Software": None})
        with atomic_write(self._files.claim(file)) as target:
            target.write(image.getvalue())
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close(fig)
        self.contents.append({"kind": "figure", "file": file, "caption": caption, "alt": alt})

    def table(
        self, name: str, header: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str
    ) -> None:
        """Show a table in the report; a cell is text, a Python number, or `None` for a gap.

        Raises:
            ValueError: A row is not as long as the header.
        """
        self._claim_name("table", name)
        for index, row in enumerate(rows):
            if len(row) != len(header):
                raise ValueError(
                    f"row {index} of table {name!r} has {len(row)} cells; "
                    f"the header has {len(header)}"
                )
        self.contents.append(
            {
                "kind": "table",
                "header": list(header),
                "rows": [list(row) for row in rows],
                "caption": caption,
            }
        )

    def note(self, text: str) -> None:
        """Show a paragraph of plain text in the report, where it was made."""
        self.contents.append({"kind": "note", "text": text})

    def metrics(self, row: Mapping[str, Cell]) -> None:
        """Append one row to `metrics.jsonl`."""
        self._append_metrics([dict(row)])

    def log(self, lines: Iterable[Mapping[str, Any]], **labels: Cell) -> None:
        """Append the lines of a training's history, each with these labels, to `metrics.jsonl`."""
        self._append_metrics([{**labels, **line} for line in lines])

    def seeds(self, count: int) -> list[int]:
        """Seeds of a run's parts, such that no two base seeds share one.

        >>> import tempfile
        >>> Context(Path(tempfile.mkdtemp()), seed=2).seeds(3)
        [6, 7, 8]
        """
        return [count * self.seed + i for i in range(count)]

    def training(self, name: str) -> dict[str, Any]:
        """What `train.fit` and `train.iterate` take of a run: `folder`, `resume` and `progress`."""
        self._say(f"training of {name}")
        progress = None if self.progress else False
        return {"folder": self.folder(name), "resume": self.resume, "progress": progress}

    def folder(self, name: str) -> Path:
        """A sub-folder for one training run's checkpoint and metrics; made when it is not there."""
        path = self._files.claim(f"training/{_checked('folder', name)}")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def stage(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """The result of `function(*args)`, computed once in the life of a run.

        The result is kept in `stages/NAME.safetensors` with the figures, tables, notes and metrics
        that the stage made; a resumed run reads it instead of calling `function`. It may be any
        PyTree: a model, dictionaries, lists, tuples, arrays, numbers, text, `None`. Arrays come
        back as NumPy arrays, those of a model as they were, from the file or not, so that a resumed
        run sees what an unbroken one saw. The file has a digest of all its bytes, by which damage
        is found.

        Args:
            name: The stage's name; used once a run.
            function: What to compute. It must depend on nothing but the configuration, the base
                seed and `args`, which depend on nothing else: the file is known by its name alone.
            *args: Handed to `function`.

        Raises:
            TypeError: The result holds something that cannot be kept.
            ValueError: The name is used twice, or the stage's file is damaged.
        """
        from pullback.runs._stage import load_stage, save_stage  # loads NumPy

        path = self._files.claim(f"stages/{self._claim_name('stage', name)}.safetensors")
        kept = load_stage(path) if self.resume and path.exists() else None
        if kept is not None and self._has_pictures(kept["contents"]):
            self._say(f"{name}: kept from before")
            self.contents += kept["contents"]
            self._names |= set(kept["names"])
            self._append_metrics(kept["rows"])
        else:
            self._say(name)
            with self._collected() as made:
                made["result"] = function(*args)
            self._files.claim(f"stages/{name}.safetensors")
            kept = save_stage(path, made)
        return kept["result"]

    def _has_pictures(self, contents: Sequence[Mapping[str, Any]]) -> bool:
        """Whether no picture of a stage was taken away since; else the stage runs again."""
        return all((self.root / part["file"]).exists() for part in contents if "file" in part)

    @contextmanager
    def _collected(self) -> Iterator[dict[str, Any]]:
        contents, rows, names = len(self.contents), len(self._rows), set(self._names)
        made: dict[str, Any] = {}
        self._depth += 1
        yield made
        self._depth -= 1
        made["contents"] = self.contents[contents:]
        made["rows"] = self._rows[rows:]
        made["names"] = sorted(self._names - names)

    def _say(self, what: str) -> None:
        """Say on stderr what the run is at, and how long it has been running."""
        if self.progress:
            seconds = time.perf_counter() - self._start
            print(f"[{seconds:5.0f} s] {'  ' * self._depth}{what}", file=sys.stderr, flush=True)

    def _append_metrics(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows += rows
        log = self._files.claim("metrics.jsonl")
        append_text(log, "".join(json.dumps(row) + "\n" for row in rows))

    def _claim_name(self, kind: str, name: str) -> str:
        label = f"{kind} {_checked(kind, name)}"
        if label in self._names:
            raise ValueError(f"this run has a {kind} named {name!r} already; choose another name")
        self._names.add(label)
        return name


def _checked(kind: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"a {kind} is named {name!r}; use letters, digits, '.', '_' and '-', as for a file"
        )
    return name
