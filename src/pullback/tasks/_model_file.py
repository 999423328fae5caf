"""A model of the user's own, by the name of a Python file and of what stands in it."""

import ast
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pullback._names import did_you_mean
from pullback.data import DataError

# What reads a model of each kind, as two lines of a Python file.
_PICKLE = ("import pickle", 'model = pickle.load(open("{file}", "rb"))')
_TORCH = ("import torch", 'model = torch.load("{file}", weights_only=False).eval()')
_KERAS = ("import keras", 'model = keras.models.load_model("{file}").predict')
_PICKLED = {
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".joblib": ("import joblib", 'model = joblib.load("{file}")'),
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".keras": _KERAS,
    ".h5": _KERAS,
}


def model_of_file(text: str | os.PathLike[str]) -> Any:
    """What `FILE.py:NAME` names: the file is run, as `python FILE.py` would, and NAME taken of it.

    Modules beside the file can be imported by it, and what stands under `if __name__ ==
    "__main__":` is not run.

    Args:
        text: the path of a Python file, a colon, and the name of a function or a model in it.

    Returns:
        The function or the model.

    Raises:
        DataError: no name is given, or there is none such; the file is missing, or running it
            fails; or it is no Python file: a pickled model is refused, with the two lines that load
            it inside such a file.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "my.py"
        >>> _ = file.write_text("def predict(images):\\n    return images.mean((1, 2, 3))\\n")
        >>> model_of_file(f"{file}:predict").__name__
        'predict'
    """
    path, colon, name = str(text).rpartition(":")
    # A colon of C:\models\my.py names nothing.
    if not colon or not name.isidentifier():
        path, name = str(text).rstrip(":"), ""
    file = Path(path)
    _refuse_pickled(file)
    if not os.path.isfile(file):  # of a name that is too long too
        raise DataError(file, "there is no such file; give a Python file and a name, my.py:predict")
    known = _names_of(file)
    if not name:
        raise DataError(file, f"say which function of it, as {file}:{_first(known)}; {_has(known)}")
    module = _run(file)
    if not hasattr(module, name):
        raise DataError(file, f"it has no {name!r}{did_you_mean(name, known) or '.'} {_has(known)}")
    found = getattr(module, name)
    if inspect.isclass(found):
        raise DataError(
            file,
            f"{name!r} is a class and no model of it; add a line that makes one, such as "
            f"model = {name}(), and name that.",
            line=known.get(name),
        )
    if not callable(found) and not hasattr(found, "predict_proba"):
        raise DataError(
            file,
            f"{name!r} is a {type(found).__name__}, and neither a function nor a model with "
            f"predict_proba. {_has(known)}",
            line=known.get(name),
        )
    return found


def place_of(model: Any) -> tuple[str, int | None]:
    """What a model is called in a message, and where it begins: the file and the line.

    >>> place_of(place_of)[0].endswith("_model_file.py")
    True
    >>> place_of(len)
    ('len', None)
    """
    inner = inspect.unwrap(model) if callable(model) else model
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    if code is None and not inspect.isbuiltin(inner):
        # Of a model of a class of the user's own, where it does what it does.
        own = (vars(type(inner)).get(name) for name in ("__call__", "forward", "predict_proba"))
        codes = [code for each in own if (code := getattr(each, "__code__", None)) is not None]
        code = next((code for code in codes if "site-packages" not in code.co_filename), None)
    if code is None:
        return getattr(inner, "__name__", type(inner).__name__), None
    return _short(code.co_filename), code.co_firstlineno


def in_file(function: Callable[[], Any], file: str, doing: str) -> Any:
    """What a call into the user's file gives; what it raises is said with the file and the line.

    Args:
        function: the call.
        file: of the user's code.
        doing: what was being done, as the message goes on.
    """
    try:
        return function()
    except DataError:
        raise
    except (Exception, SystemExit) as error:
        # The innermost line of the user's own.
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if _short(frame.filename) == file]
        told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise DataError(
            file, f"{doing} raised {told}", line=lines[-1] if lines else None
        ) from error


def _refuse_pickled(file: Path) -> None:
    lines = _PICKLED.get(file.suffix.lower())
    if lines is not None:
        first, second = (line.format(file=file) for line in lines)
        raise DataError(
            file,
            "a pickled model is not read: reading it runs whatever stands in it. If you trust it, "
            f"load it in a Python file my.py of two lines, `{first}` and `{second}`, and give "
            "my.py:model.",
        )
    if file.suffix.lower() != ".py":
        raise DataError(
            file,
            "a model is given as a Python file and the name of a function in it, my.py:predict",
        )


def _names_of(file: Path) -> dict[str, int]:
    """Functions, classes and what is assigned at the top of a file, with their lines."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except OSError as error:
        raise DataError(file, f"it cannot be read: {error.strerror}") from error
    except SyntaxError as error:
        raise DataError(file, f"this is no Python: {error.msg}", line=error.lineno) from error
    # A zero byte, or more brackets within brackets than Python takes.
    except (ValueError, RecursionError, MemoryError) as error:
        told = str(error) or "it is nested too deeply"
        raise DataError(file, f"this is no Python: {told}") from error
    found: dict[str, int] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node.lineno
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for name in [each for target in targets for each in ast.walk(target)]:
                if isinstance(name, ast.Name):
                    found[name.id] = node.lineno
    return {name: line for name, line in found.items() if not name.startswith("_")}


def _first(known: dict[str, int]) -> str:
    usual = [name for name in known if name in ("predict_proba", "predict", "model", "classify")]
    return (usual or [*known] or ["predict"])[0]


def _has(known: dict[str, int]) -> str:
    return f"the file has {', '.join(known)}." if known else "the file defines nothing."


def _run(file: Path) -> ModuleType:
    """The module of a file, which is run anew."""
    name = file.stem if file.stem not in sys.modules else f"_pullback_model_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    assert spec is not None
    assert spec.loader is not None
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    # Dataclasses and pickles look a module up by its name, and imports beside the file its folder.
    sys.modules[name] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
        in_file(lambda: loader.exec_module(module), _short(str(file.resolve())), "running it")
    except BaseException:
        del sys.modules[name]
        sys.path.remove(str(file.resolve().parent))
        raise
    return module


def _short(file: str) -> str:
    """A path as from the working folder, where it lies below it."""
    try:
        return str(Path(file).resolve().relative_to(Path.cwd()))
    except ValueError:
        return file
