"""The code of the README and of the pages in docs runs, and the commands named there exist."""

import ast
import functools
import importlib
import inspect
import itertools
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import pullback as pb
from pullback import cli
from pullback.recipes import papers

ROOT = Path(__file__).parent.parent
# What is written by hand, and so may name what is not there.
TEXTS = {
    str(page.relative_to(ROOT)): page.read_text()
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
README = TEXTS["README.md"]


def blocks(*languages: str, text: str) -> list[str]:
    """The fenced code blocks in these languages."""
    fence = rf"^```(?:{'|'.join(languages)})\n(.*?)^```$"
    return re.findall(fence, text, flags=re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[str]:
    """What a page runs of `program`, in shell blocks and in tables: no prompt, no comment."""
    lines = [
        line
        for text in TEXTS.values()
        for block in blocks("bash", "sh", "console", text=text)
        for line in block.splitlines()
    ]
    lines += [
        code
        for text in TEXTS.values()
        for line in text.splitlines() if line.startswith("|")
        for code in re.findall(r"`([^`]+)`", line)
    ]  # fmt: skip
    bare = [re.sub(r"^\s*(\$ )?([A-Z_]+=\S* )*|\s+#.*$", "", line).strip() for line in lines]
    return sorted({line for line in bare if line.split(" ")[0] == program})


EXAMPLES = {
    f"{page}, {number}": block
    for page, text in TEXTS.items()
    for number, block in enumerate(blocks("python", text=text))
}


# A minute to compile: a second derivative of all that is composed there.
LONG = ["docs/composing.md, 0"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in EXAMPLES],
)
def test_example_runs(name, x32, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLES[name], name, "exec"), {})


def test_the_readme_is_read_in_two_minutes_and_opens_three_doors():
    assert len(README.splitlines()) <= 150
    for door in ("**Compose.**", "**Fit a file.**", "**Check a paper.**"):
        assert door in README


def test_what_the_readme_says_of_speed_and_truth_is_what_is_recorded(docs_script):
    assert docs_script("make_readme").main(["--check"]) == 0


def test_a_ratio_of_the_readme_is_of_the_two_cells_that_it_names(docs_script):
    script = docs_script("make_readme")
    page = (
        "<!-- bench-a -->\n| size | ms | theirs |\n| --- | ---: | ---: |\n| us, 1 | 2.5 | 10 |\n"
        "| them | 1,000 | 2 (a refit) |\n<!-- /bench-a -->\n"
    )
    tables = script.tables_of("a", page)
    assert script.ratio(script.rows(0, "us, 1", "them"), tables) == 400
    assert script.ratio(script.columns(0, "us, 1", "ms", "theirs"), tables) == 4
    assert script.ratio(script.columns(0, "them", "ms", "theirs"), tables) == 0.002
    assert [*map(script.short, (0.994, 0.996, 9.9, 9.96, 0.02))] == [
        "0.99",
        "1.0",
        "9.9",
        "10",
        "0.02",
    ]


def rooms() -> dict:
    """The public rooms by the last part of their names, those of the models too."""
    names = [*dir(pb), *(f"models.{name}" for name in dir(pb.models))]
    found = {name.split(".")[-1]: importlib.import_module(f"pullback.{name}")
             for name in names if not name.startswith("__") and "ode_net" not in name}  # fmt: skip
    return found | {"pb": pb}


def test_the_table_of_rooms_has_them_all():
    named = re.findall(r"^\| `pb\.(\w+)` \|", TEXTS["docs/rooms.md"], flags=re.MULTILINE)
    assert sorted(named) == sorted(set(dir(pb)) - {"__version__", "recipes"})


# A table that sets FlowJAX beside us names what is its own.
FLOWJAX = [
    importlib.import_module(f"flowjax.{n}") for n in ("bijections", "distributions", "flows")
]


def test_what_the_tables_say_to_write_exists_and_takes_what_it_is_given():
    """Each name of a class, each name in a room, and each keyword of a call."""
    known = rooms()
    pool = {name: getattr(room, name) for room in known.values() for name in dir(room)}
    theirs = {name: getattr(room, name) for room in FLOWJAX for name in dir(room)}
    wrong = []
    # A single letter is a number; the rest are of other libraries.
    is_class = lambda name: re.match(r"[A-Z]\w", name) and name not in ("Dataset", "MapDataset")

    def value(node, names):
        if isinstance(node, ast.Attribute):
            owner = value(node.value, names)
            return None if owner is None else getattr(owner, node.attr, KeyError)
        if not isinstance(node, ast.Name):
            return None
        return names.get(node.id, KeyError if is_class(node.id) else None)

    of_peers = "docs/benchmarks.md"
    written = "\n".join(text for page, text in TEXTS.items() if page != of_peers)
    header = ""
    for line in written.splitlines():
        header = "" if not line.startswith("|") else header or line
        names = (theirs if "FlowJAX" in header else {}) | pool | known
        for code in re.findall(r"`([^`]+)`", line) if line.startswith("|") else ():
            try:
                nodes = list(ast.walk(ast.parse(code.replace("...", "*_"), mode="eval")))
            except SyntaxError:  # a shape, or a flag
                continue
            wrong += [code for node in nodes if value(node, names) is KeyError]
            for call in (node for node in nodes if isinstance(node, ast.Call)):
                found = value(call.func, names)
                known_call = callable(found) and found is not KeyError
                taken = inspect.signature(found).parameters if known_call else None
                wrong += [code for given in call.keywords if taken and given.arg not in taken]
    assert not wrong


@pytest.mark.parametrize("page", TEXTS)
def test_names_of_the_library_in_a_page_exist(page):
    for name in sorted(set(re.findall(r"\bpb((?:\.\w+)+)", TEXTS[page]))):
        functools.reduce(getattr, name.strip(".").split("."), pb)


def test_links_of_a_page_lead_somewhere():
    for page, text in TEXTS.items():
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
            path = (ROOT / page).parent / target
            made = path.parent.name == "methods" and path.stem in papers()  # of each paper
            assert made or path.exists(), f"{page} links {target}"


def test_the_readme_names_the_two_commands_of_the_set_up():
    assert {"make demo", "make test"} <= set(commands("make"))


@pytest.mark.parametrize("command", commands("make"))
def test_make_target_exists(command):
    dry = [*shlex.split(command), "--dry-run"]
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    done = subprocess.run(dry, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", commands("pullback"))
def test_command_and_its_flags_exist(command, capsys):
    words = shlex.split(command)[1:]
    flags = {word.split("=")[0] for word in words if word.startswith("--")}
    names = words[: next((i for i, word in enumerate(words) if word.startswith("-")), None)]
    # A file of the user's own has flags of its own.
    data = [each for flag, each in itertools.pairwise([*words, ""]) if flag == "--data"]
    named = [word for each in data for word in ("--data", each)]
    assert cli.main([*names, *named, "--help"]) == 0
    shown = capsys.readouterr().out
    # An unknown subcommand with --help shows the help of the whole command instead.
    assert not names or f"pullback {names[0]}" in shown.splitlines()[0]
    missing = [flag for flag in flags if flag not in shown]
    assert not missing, shown


@pytest.mark.slow
def test_how_far_the_first_example_is_from_finite_differences():
    """The table below the example: the largest relative difference at each tolerance."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from pullback import ode

    scope: dict = {}
    (example,) = (block for block in EXAMPLES.values() if "def predator_prey" in block)
    exec(example.replace("print(", "("), scope)
    page = TEXTS["docs/choosing/adjoints.md"]
    heads, figures = re.findall(
        r"^\| (?:`rtol`|relative difference) \|(.*)\|$", page, flags=re.MULTILINE
    )
    at = jnp.array([1.0, 0.1, 0.05, 0.5])
    start = jnp.array([10.0, 5.0])

    def foxes(rates, rtol):
        return ode.solve(scope["predator_prey"], start, [0.0, 8.0], rates, rtol=rtol).ys[-1, 1]

    both = jax.jit(jax.value_and_grad(foxes))
    for head, figure in zip(heads.split("|"), figures.split("|"), strict=True):
        rtol = jnp.array(float(head.split()[0]))
        _, slope = both(at, rtol)
        gaps = 1e-6 * jnp.diag(at)
        ends = [[both(at + sign * gap, rtol)[0] for sign in (1, -1)] for gap in gaps]
        differences = np.array([(high - low) for high, low in ends]) / (2e-6 * np.asarray(at))
        off = np.max(np.abs(np.asarray(slope) / differences - 1))
        assert float(f"{off:.0e}") == pytest.approx(float(figure)), head
        eagerly = jax.grad(foxes)(at, rtol)
        np.testing.assert_allclose(eagerly, slope, rtol=1e-6)


def test_files_that_a_page_names_exist():
    for page, text in TEXTS.items():
        for name in re.findall(r"`((?:tests|src|benchmarks|docs)/[\w/]+\.\w+)`", text):
            assert (ROOT / name).exists(), f"{page} names {name}"
