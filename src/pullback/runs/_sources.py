"""What an experiment was written as: the digest of its sources, and the commit they are of."""

import ast
import hashlib
import importlib.util
import io
import subprocess
import tokenize
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
_DRAWS = "show"  # a module that draws changes no figure that is measured


def sources_digest(module: str) -> str:
    """The digest of the module that an experiment is in, and of those beside it that it imports.

    Beside it are the modules of the package two steps from the top: a recipe's own, and what
    recipes share; not the rooms of the library, whose digest is that of the whole package.
    Comments, docstrings, blank lines and `show.py` do not count. Nothing is imported.

    Args:
        module: The module of an experiment's `run`.

    Returns:
        Sixteen digits.

    Example:
        >>> digest = sources_digest("pullback.recipes.relax")
        >>> len(digest), digest == sources_digest("pullback.recipes.relax.mnist")
        (16, False)
    """
    found = hashlib.sha256()
    for name in sorted(_reached(module, ".".join(module.split(".")[:2]))):
        path = _file_of(name)
        if path is not None:
            found.update(f"{name}\0{plain_source(path.read_text(encoding='utf-8'))}\0".encode())
    return found.hexdigest()[:16]


def commit() -> str | None:
    """The commit of the package's code, `-dirty` where files of it differ, or None without one.

    A package that is installed has none, though the folder of its environment may.
    """
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    changed = _git("status", "--porcelain", "--", ".")
    return f"{_git('rev-parse', '--short=12', 'HEAD')}{'-dirty' if changed else ''}"


def plain_source(text: str) -> str:
    """The lines of Python without comments, docstrings and blank ones.

    >>> plain_source('def f(x):\\n    \\"\\"\\"Twice x.\\"\\"\\"\\n\\n    return 2 * x  # exact\\n')
    'def f(x):\\n    return 2 * x'
    """
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())) if node.end_lineno is not None:
                before = lines[node.lineno - 1].encode()[: node.col_offset]
                after = lines[node.end_lineno - 1].encode()[node.end_col_offset :]
                if not before.strip() and not after.strip():
                    lines[node.lineno - 1 : node.end_lineno] = [""] * (
                        node.end_lineno - node.lineno + 1
                    )
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _reached(start: str, within: str) -> set[str]:
    """The modules that one imports, directly or not, of those `within` a package."""
    found, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if name in found or path is None or name.rpartition(".")[2] == _DRAWS:
            continue
        found.add(name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                named = [each if _file_of(each) else node.module for each in inner]
            else:
                continue
            waiting += [each for each in named if each.startswith(f"{within}.")]
    return found


def _file_of(module: str) -> Path | None:
    """The file of a module, found without importing it or what it lies in."""
    top, *rest = module.split(".")
    found = importlib.util.find_spec(top)
    if found is None or found.origin is None:
        return None
    if not rest:
        return Path(found.origin)
    base = Path(found.origin).parent.joinpath(*rest)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_PACKAGE), *words],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
