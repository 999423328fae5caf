"""Running a recipe: a folder that holds one run and never a mixture of two."""

import dataclasses
import json
import os
import platform
import shutil
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pullback import __version__
from pullback._files import atomic_write_text
from pullback.runs import Context, Experiment, write_page

# Everything that a run writes, in the order in which a run that is replaced is taken away: the
# mark of a finished run first and the mark of a run last, so that a kill in between is harmless.
_LAYOUT = (
    "claims.json", "report.html", "contents.json", "figures", "metrics.jsonl", "training", "stages",
    "config.json",
)  # fmt: skip


class RunError(ValueError):
    """A run cannot start, because of what lies in its folder."""


def run(
    recipe: Experiment,
    config: Any,
    *,
    preset: str,
    folder: Path,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = False,
    data: Path | None = None,
) -> dict[str, Any]:
    """Run a recipe in `folder`, and write its `claims.json` and `report.html`.

    Args:
        recipe: What to run.
        config: Its configuration, usually one of `recipe.presets` or near it.
        preset: The preset that `config` came from.
        folder: Where the run writes; made when it is not there.
        seed: The base seed.
        resume: Go on with the run in `folder`; start when there is none.
        overwrite: Replace the run in `folder`. Files that no run wrote are left alone.
        progress: Whether to show progress bars.
        data: A file or folder with the user's data.

    Returns:
        What `claims.json` holds: the claims, and what they were measured with.

    Raises:
        RunError: `folder` holds other files, or a run that is neither the one to resume nor to be
            replaced.
    """
    identity = {
        "recipe": recipe.name,
        "preset": preset,
        "seed": seed,
        "data": None if data is None else str(Path(data).resolve()),
        "config": _plain(config),
    }
    _settle(folder, identity, resume=resume, overwrite=overwrite)
    resumed = (folder / "config.json").exists()
    spent = _spent(folder)
    atomic_write_text(folder / "config.json", json.dumps(identity, indent=2) + "\n")
    context = Context(folder, seed=seed, resume=resume, progress=progress, data=data)
    start = time.perf_counter()
    claims = recipe.run(config, context)
    preset_config = _plain(recipe.presets[preset])
    record = {
        "recipe": recipe.name,
        "title": recipe.title,
        "arxiv": recipe.arxiv,
        "summary": recipe.summary,
        "preset": preset,
        "seed": seed,
        "config": identity["config"],
        "changed": [k for k, v in identity["config"].items() if v != preset_config[k]],
        "own_data": data is not None,
        "claims": [claim.to_json() for claim in claims],
        "versions": _versions(),
        "machine": _machine(),
        "wall_seconds": round(spent + time.perf_counter() - start, 1),
        "resumed": resumed,
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    atomic_write_text(folder / "contents.json", json.dumps(context.contents) + "\n")
    atomic_write_text(folder / "claims.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_page(folder)
    return record


def _spent(folder: Path) -> float:
    """What a finished run took, when it is resumed to be drawn again."""
    path = folder / "claims.json"
    return json.loads(path.read_text())["wall_seconds"] if path.exists() else 0.0


def _settle(folder: Path, identity: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
    """Leave `folder` ready for this run, or say why it cannot be."""
    if resume and overwrite:
        raise RunError("--resume goes on with a run and --overwrite replaces it; give one of them")
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; name a folder with --out")
    if not folder.exists() or all(path.name.startswith(".") for path in folder.iterdir()):
        return
    try:
        before = json.loads((folder / "config.json").read_text())
        _ = before["recipe"], before["config"]
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(
            f"{folder} holds files, and no run of pullback; name another folder with --out"
        ) from None
    finished = (folder / "claims.json").exists()
    begun = finished or any((folder / name).exists() for name in ("stages", "training"))
    if overwrite or not begun:
        _clear(folder)
    elif not resume:
        raise RunError(
            f"{folder} holds {'a finished' if finished else 'an unfinished'} run; "
            "--resume goes on with it, --overwrite replaces it, --out names another folder"
        )
    else:
        _same(folder, before, identity)


def _same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    flat_before, flat_now = (
        {k: v for k, v in one.items() if k != "config"} | one["config"] for one in (before, now)
    )
    for name in flat_before | flat_now:
        old, new = (flat.get(name, "nothing") for flat in (flat_before, flat_now))
        if old != new:
            raise RunError(
                f"the run in {folder} has {name} = {old}, not {new}; to resume it give the same "
                "flags as before, or name another folder with --out"
            )


def _clear(folder: Path) -> None:
    for name in _LAYOUT:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _plain(config: Any) -> dict[str, Any]:
    """The configuration as JSON gives it back: tuples are lists, paths are text."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def _versions() -> dict[str, str]:
    packages = ("jax", "equinox", "diffrax", "optax", "numpy")
    own = {"pullback": __version__, "python": platform.python_version()}
    return own | {name: version(name) for name in packages}


def _machine() -> dict[str, str | int]:
    import jax

    device = jax.devices()[0]
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        "device": device.device_kind if device.platform != "cpu" else "cpu",
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
