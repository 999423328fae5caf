"""What makes two runs the same run: the experiment, its settings, its data and the code."""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pullback import __version__
from pullback.runs._experiment import Experiment

_PACKAGE = Path(__file__).parent.parent
# What only draws changes no figure that is measured: a finished run may be drawn again.
_DRAWS = ("show.py", "plots")
_LIBRARIES = ("jax", "jaxlib", "equinox", "diffrax", "optax", "numpy")


def identity_of(
    experiment: Experiment, config: Any, *, preset: str, seed: int, files: Sequence[Path]
) -> dict[str, Any]:
    """What a resumed run has to share with what it goes on with, as `config.json` has it."""
    return {
        "recipe": experiment.name,
        "preset": preset,
        "seed": seed,
        "data": digest_of_files(files) if files else None,
        "code": f"{__version__}+{code_digest()}",
        "with": _made_with(),
        "config": plain(config),
    }


def _made_with() -> dict[str, str]:
    """What figures hang on beside the package's code, to the last bit."""
    import jax

    precision = "double precision" if jax.config.jax_enable_x64 else "single precision"  # pyrefly: ignore
    return {"arrays": precision} | {name: f"version {version(name)}" for name in _LIBRARIES}


def check_settings(config: Any) -> None:
    """Refuse numbers that no setting takes; whatever else a setting asks its class checks itself.

    Raises:
        ValueError: A number is negative, infinite or not a number; the message names the setting.
    """
    for name, value in plain(config).items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, (int, float)) and not 0 <= number < math.inf:  # NaN is not
                raise ValueError(f"{name} must be finite and not negative, got {value}")


def plain(config: Any) -> dict[str, Any]:
    """The configuration as JSON gives it back: tuples are lists, paths are text."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def digest_of_files(files: Iterable[Path]) -> str:
    """The SHA-256 digest of what files hold, and of all files in folders, by name; 16 digits."""
    found = hashlib.sha256()
    for path in files:
        inner = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for each in inner:
            found.update(f"{each.relative_to(path.parent)}\0".encode())
            with each.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:16]


@functools.cache
def code_digest() -> str:
    """The digest of the package's code, all of it but for what only draws."""
    files = sorted(
        path for path in _PACKAGE.rglob("*.py")
        if not set(path.relative_to(_PACKAGE).parts) & set(_DRAWS)
    )  # fmt: skip
    return digest_of_files(files)[:12]


def difference(before: dict[str, Any], now: dict[str, Any], files: Sequence[Path]) -> str | None:
    """In what two identities differ, as a sentence, or None."""
    if before.get("data") != now["data"]:
        read = ", ".join(map(str, files)) or "no file"
        return f"was made with other data: what {read} holds is not what it held then"
    for name, new in now["with"].items():
        old = before["with"].get(name, "nothing")
        if old != new:
            return f"was made with {name} of {old}; this is {new}"
    flat_before, flat_now = (
        {k: v for k, v in one.items() if k not in ("config", "with")} | one["config"]
        for one in (before, now)
    )
    for name in flat_before | flat_now:
        old, new = (flat.get(name, "nothing") for flat in (flat_before, flat_now))
        if old != new and name == "code":
            return f"was made by other code: pullback {old}; this is {new}"
        if old != new:
            return f"has {name} = {old}, not {new}"
    return None
