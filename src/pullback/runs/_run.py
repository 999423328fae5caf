"""Running an experiment: a folder that holds one run and never a mixture of two."""

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, SupportsIndex

from pullback import __version__
from pullback._files import atomic_write_text
from pullback._seed import RUN_SEEDS, checked_seed
from pullback.plots import house_style
from pullback.runs._context import Context
from pullback.runs._experiment import Experiment
from pullback.runs._folder import finished, held, run_in
from pullback.runs._identity import check_settings, difference, identity_of, plain
from pullback.runs._legs import leg
from pullback.runs._page import write_page
from pullback.runs._sources import commit, sources_digest
from pullback.runs._written import (
    RunError,
    Written,
    check_places,
    clear,
    put_aside,
    results,
    settle_aside,
)


def run(
    experiment: Experiment,
    config: Any,
    *,
    preset: str,
    folder: Path,
    seed: SupportsIndex = 0,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = False,
    data: Path | None = None,
) -> dict[str, Any]:
    """Run an experiment in `folder`, and write its `claims.json` and `report.html`.

    One process holds the folder at a time. A run that is refused, and one that ends before it has
    computed anything, leaves no folder that was not there.

    Args:
        experiment: What to run.
        config: Its configuration, usually one of `experiment.presets` or near it.
        preset: The preset that `config` came from.
        folder: Where the run writes; made when it is not there.
        seed: The base seed.
        resume: Go on with the run in `folder`; start when there is none.
        overwrite: Replace the run in `folder`; it comes back where the new one ends before it has
            computed anything. Files that no run wrote are left alone: a run takes away, and writes
            over, only what stands in its list, `files.json`.
        progress: Whether to show progress bars.
        data: A file or folder with the data to read.

    Returns:
        What `claims.json` holds: the claims, and what they were measured with.

    Raises:
        TypeError: The seed is no whole number.
        ValueError: The seed is negative or too large, or a setting is negative, infinite or not a
            number.
        RunError: `folder` cannot be made, is held by another process, holds other files, or a run
            that is neither the one to resume (it has other settings, data, code,
            libraries or precision) nor to be
            replaced; or a file that is to be resumed is damaged, or the data cannot be read; or
            there is a file that no run wrote, or a link, where this one writes; or somebody took
            the folder away meanwhile.
        DataError: What `data` names is not what the experiment reads.
    """
    if resume and overwrite:
        raise RunError("--resume goes on with a run and --overwrite replaces it; give one of them")
    seed = checked_seed(seed, below=RUN_SEEDS, name="--seed")
    check_settings(config)
    files = experiment.reads(data)
    # Of the code that runs, and not of what its files hold when it ends.
    sources = sources_digest(experiment.run.__module__), commit()
    try:
        identity = identity_of(experiment, config, preset=preset, seed=seed, files=files)
    except OSError as error:
        raise RunError(f"{error.filename} cannot be read ({error.strerror})") from error
    with held(folder) as still:
        _settle(folder, identity, files, resume=resume, overwrite=overwrite)
        try:
            written = Written(folder, still)
            with leg(written) as before:
                start = time.perf_counter()
                text = json.dumps(identity, indent=2)
                atomic_write_text(written.claim("config.json"), text + "\n")
                context = Context(
                    folder, seed=seed, resume=resume, progress=progress, data=data, files=written
                )
                with house_style():
                    claims = experiment.run(config, context)
                legs = [*before, time.perf_counter() - start]
        except BaseException:
            _leave(folder, still)
            raise
        preset_config = plain(experiment.presets[preset])
        record = {
            "recipe": experiment.name,
            "title": experiment.title,
            "arxiv": experiment.arxiv,
            "summary": experiment.summary,
            "preset": preset,
            "seed": seed,
            "config": identity["config"],
            "changed": [k for k, v in identity["config"].items() if v != preset_config[k]],
            "data": identity["data"],
            "code": identity["code"],
            "sources": sources[0],
            "commit": sources[1],
            "claims": [claim.to_json() for claim in claims],
            "versions": _versions(),
            "machine": _machine(),
            "wall_seconds": round(sum(legs), 1),
            "legs": [round(seconds, 1) for seconds in legs],
            "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        }
        text = json.dumps(context.contents)
        atomic_write_text(written.claim("contents.json"), text + "\n")
        text = json.dumps(record, indent=2, allow_nan=False)
        atomic_write_text(written.claim("claims.json"), text + "\n")
        settle_aside(folder)
        written.claim("report.html")
        write_page(folder)
    return record


def _settle(
    folder: Path,
    identity: dict[str, Any],
    files: Sequence[Path],
    *,
    resume: bool,
    overwrite: bool,
) -> None:
    """Leave `folder` ready for this run, or say why it cannot be."""
    try:
        settle_aside(folder)
        before = run_in(folder)
        check_places(folder)
        if before is None:
            return
        found = results(folder)
        if not found:
            clear(folder)
        elif overwrite:
            put_aside(folder)
    except OSError as error:
        raise RunError(f"{error.filename} cannot be taken away ({error.strerror})") from error
    if not found or overwrite:
        return
    if not resume:
        raise RunError(
            f"{folder} holds {'a finished' if finished(folder) else 'an unfinished'} run; "
            "--resume goes on with it, --overwrite replaces it, --out names another folder"
        )
    if differs := difference(before, identity, files):
        raise RunError(
            f"the run in {folder} {differs}; to resume it all must be as before: else replace it "
            "with --overwrite, or name another folder with --out"
        )


def _leave(folder: Path, still: Callable[[], None]) -> None:
    """After a run that ended early: nothing of one without results, and what it was to replace."""
    with contextlib.suppress(RunError, OSError):
        still()
        if not results(folder):
            clear(folder)
        settle_aside(folder)


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
