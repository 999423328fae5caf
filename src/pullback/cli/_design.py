"""`pullback design`: new things by a saved model. A function for each task that designs."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from pullback.cli._common import (
    BadUsage,
    OptionalName,
    held,
    in_one_line,
    set_up_jax,
    task_of,
)
from pullback.cli._use import Model

Number = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
Avoid = Annotated[tuple[str, ...], tyro.conf.arg(metavar="WHAT", help_behavior_hint="")]


def design_sequences(
    model: Model,
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("designs"),
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 100,
    score: OptionalName = None,
    avoid: Avoid = (),
    fixed: OptionalName = None,
    target: Number = None,
    seed: int = 0,
) -> int:
    """Design sequences that score high and look like those of the fit.

    Args:
        model: The folder that `pullback fit dna` wrote.
        out: The folder for designs.fasta, designs.csv and logos.png.
        n: How many sequences to design.
        score: What the designs should have: the score that was fitted, by its name; letters of a
            motif, such as CACGTG; a file of motifs, JASPAR or MEME, from which FILE:NAME takes one;
            or a function in JAX, FILE.py:NAME, from one sequence, an array of length by letters, to
            a number (default: the score that was fitted).
        avoid: What the designs should not have, named in the same way; a site given by its letters
            never occurs.
        fixed: Letters that must not change, such as primers, and N where a letter is free; as many
            letters as a sequence has.
        target: The score to come near to (default: the highest possible).
        seed: The seed of all that is random.
    """
    if n < 1:
        raise BadUsage(f"-n must be 1 or more, got {n}")
    with held(out, "designs.csv", "designs.fasta", "logos.png"), in_one_line():
        set_up_jax()
        from pullback import tasks

        known = tasks.load(model)
        wanted = None if score is None else _named(score, "score")
        unwanted = [_named(each, "avoid") for each in avoid]
        found = known.design(
            n, score=wanted, avoid=unwanted or None, fixed=fixed, target=target, random_state=seed
        )
        files = found.save(out)
    print(*found.notes, sep="\n")
    print(f"{len(found.letters)} designs: {', '.join(map(str, files))}")
    return 0


def _named(text: str, flag: str) -> Any:
    """A motif or a function that a file holds; other text as it is."""
    from pullback import data, tasks

    path, colon, name = text.rpartition(":")
    if (path if colon else text).endswith(".py"):
        return tasks.model_of_file(text)
    file, name = (Path(path), name) if colon and Path(path).is_file() else (Path(text), "")
    if not file.is_file():
        return text
    motifs = data.read_motifs(file)
    named = {known: motif for motif in motifs for known in (motif.identifier, motif.name)}
    if name and name in named:
        return named[name]
    if not name and len(motifs) == 1:
        return motifs[0]
    some = ", ".join(f"{file}:{motif.identifier}" for motif in motifs[:5])
    raise BadUsage(
        f"{file} has {len(motifs)} motifs"
        + (f", and none is called {name}" if name else "")
        + f"; say which by --{flag} {some}" + (" ..." if len(motifs) > 5 else "")
    )  # fmt: skip


def design_molecules(
    model: Model,
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("designs"),
    n: Annotated[int | None, tyro.conf.arg(aliases=["-n"], help_behavior_hint="")] = None,
    property: OptionalName = None,
    target: Number = None,
    start: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SMILES", help_behavior_hint="")] = (),
    radius: Number = None,
    to: OptionalName = None,
    seed: int = 0,
) -> int:
    """Design molecules near known ones of which a property is high, or go from one to another.

    Args:
        model: The folder that `pullback fit molecules` wrote.
        out: The folder for designs.csv, designs.sdf and drawings, designs.png; with --to for
            interpolation.csv and interpolation.png.
        n: How many molecules to design (default: 100); with --to, how many steps to take on the way
            (default: 12).
        property: The property to raise: one that was fitted, by its name, or logP, QED or SAS,
            which RDKit computes (default: the first that was fitted, or QED).
        target: The value to come near to (default: the highest possible).
        start: The molecules to start from, as SMILES in quotes (default: the 20 best of the fit).
        radius: How far a design may lie from its start, in standard deviations of the codes
            (default: 4).
        to: Go from --start to this molecule, given as SMILES, and raise no property.
        seed: The seed of all that is random.
    """
    if n is not None and n < 1:
        raise BadUsage(f"-n must be 1 or more, got {n}")
    if to is not None and len(start) != 1:
        raise BadUsage("--to goes from one molecule: name it with --start")
    asked = {"property": property, "target": target, "radius": radius}
    given = {name: value for name, value in asked.items() if value is not None}
    if to is not None and given:
        raise BadUsage(f"--to climbs nothing; leave out --{' and --'.join(given)}")
    files = ("interpolation.csv", "interpolation.png") if to else (
        "designs.csv", "designs.sdf", "designs.png"
    )  # fmt: skip
    with held(out, *files), in_one_line():
        set_up_jax()
        from pullback import tasks

        known = tasks.load(model)
        if to is not None:
            found = known.interpolate(start[0], to, n or 12, random_state=seed)
        else:
            found = known.design(n or 100, start=start or None, random_state=seed, **given)
        written = found.save(out)
    print(*found.notes, sep="\n")
    what = "codes" if to is not None else "designs"
    print(f"{len(found.smiles)} {what}: {', '.join(map(str, written))}")
    return 0


# By the task that is saved in the folder.
DESIGNERS: dict[str, Callable[..., int]] = {
    "SequenceDesigner": design_sequences,
    "MoleculeDesigner": design_molecules,
}


def design(argv: list[str]) -> int:
    """Design by the model that the first word names; the flags are those of its task."""
    saved = bool(argv) and (Path(argv[0]) / "model.safetensors").is_file()
    if not argv or ({"-h", "--help"} & {*argv} and not saved):
        print("usage: pullback design MODEL [flags]\n\nThe flags are those of the kind of model:\n")
        for function in DESIGNERS.values():
            with contextlib.suppress(SystemExit):  # how tyro ends after --help
                tyro.cli(function, prog="pullback design", args=["--help"])
        return 0
    folder = argv[0]
    if folder.startswith("-"):
        raise BadUsage("the model comes first: pullback design MODEL [flags]")
    if not saved:
        raise BadUsage(f"{folder} holds no saved model; `pullback design --help` shows all flags")
    function = designer_of(folder)
    if function is None:
        raise BadUsage(
            f"the model in {folder} designs nothing; `pullback show {folder}` says what it can do"
        )
    return tyro.cli(function, prog="pullback design", args=argv)


def designer_of(folder: str) -> Callable[..., int] | None:
    """What designs by the model of a folder; None where that designs nothing."""
    kind = task_of(Path(folder))
    # What is no saved model is refused where it is loaded, with what is wrong.
    return next(iter(DESIGNERS.values())) if kind is None else DESIGNERS.get(kind)


def design_help(model: Model) -> int:
    """Design sequences or molecules by a saved model; `design MODEL --help` shows the flags.

    Args:
        model: The folder of a model that designs; it comes first.
    """
    raise NotImplementedError("`design` parses this command; the signature is what --help shows")
