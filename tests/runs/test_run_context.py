"""A run that is stopped and resumed ends where an unbroken one ends."""

import functools
import json
import sys
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullback.plots import figure
from pullback.runs import Context
from pullback.runs._stage import load_stage, save_stage


class Pair(NamedTuple):
    first: object
    second: object


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["dict", "list", "array", "array0", ""]), inner)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_plain_values_come_back_from_the_file_with_their_types(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("stage") / "s.npz"
    returned = save_stage(path, value)
    assert repr(returned) == repr(value)
    assert repr(load_stage(path)) == repr(value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.float32(0.1),
        np.array([np.nan, -np.inf]),
        jnp.zeros((0, 2)),
        jnp.float64(1 / 3),
        np.array(["a", "é"]),
    ],
    ids=repr,
)
def test_arrays_come_back_bit_for_bit_the_same_from_the_file_or_not(tmp_path, array):
    fresh = save_stage(tmp_path / "s.npz", {"x": (array, 1)})["x"][0]
    later = load_stage(tmp_path / "s.npz")["x"][0]
    for got in (fresh, later):
        assert type(got) is np.ndarray
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        assert got.tobytes() == np.asarray(array).tobytes()


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [0, object()]}, r"result\['a'\]\[1\] is a object"),
        ({1.5: 2}, "keys are not all text"),
        (np.array([object()]), "result is a ndarray"),
        ([lambda x: x], r"result\[0\] holds <function .* no name by which to find it"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name_and_leaves_no_file(tmp_path, value, where):
    with pytest.raises(TypeError, match=where):
        save_stage(tmp_path / "s.npz", value)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_comes_back_does_not_alias_what_the_function_returned(tmp_path):
    mine = np.zeros(2)
    kept = Context(tmp_path).stage("s", lambda: mine)
    mine[:] = 1
    assert kept.tolist() == [0, 0]


class Net(eqx.Module):
    """A model with all that a model may hold."""

    mlp: eqx.nn.MLP
    pair: Pair
    key: jax.Array
    half: jax.Array
    host: np.ndarray
    activation: Callable
    part: Callable
    unit: type
    name: str = eqx.field(static=True)
    sizes: dict[int, tuple[int, ...]] = eqx.field(static=True)

    def __init__(self, key):
        self.mlp = eqx.nn.MLP(2, 3, 4, 1, jax.nn.softplus, key=key)
        self.pair = Pair(jnp.ones(2), None)
        self.key = key
        self.half = jnp.full(3, 1 / 3, jnp.bfloat16)
        self.host = np.arange(3)
        self.activation = jnp.tanh
        self.part = functools.partial(jnp.sum, axis=0)
        self.unit = Pair
        self.name = "net"
        self.sizes = {3: (1, 2)}


def test_a_model_comes_back_as_it_was_from_the_file_or_not(tmp_path, key):
    net = Net(key)
    fresh = save_stage(tmp_path / "s.npz", {"nets": [net, net]})["nets"][1]
    later = load_stage(tmp_path / "s.npz")["nets"][1]
    call = eqx.filter_jit(lambda net, x: net.part(net.activation(net.mlp(x))))
    for got in (fresh, later):
        assert type(got) is Net
        assert jax.tree.structure(got) == jax.tree.structure(net)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(net), strict=True):
            assert type(a) is type(b)
            if eqx.is_array_like(a):
                assert a.dtype == b.dtype
        # A partial equals itself alone.
        assert eqx.tree_equal(eqx.tree_at(lambda net: net.part, got, net.part), net)
        x = jnp.ones(2)
        np.testing.assert_array_equal(call(got, x), call(net, x))


def test_a_stage_whose_arrays_were_changed_is_named(tmp_path):
    path = tmp_path / "s.npz"
    save_stage(path, {"weights": np.arange(3.0), "loss": 1.0})
    with np.load(path) as file:
        arrays = dict(file)
    arrays["array0"][1] += 1e-9
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"s\.npz .*result\['weights'\] is not what was written"):
        load_stage(path)


def test_reading_a_stage_imports_nothing_but_pullback(tmp_path):
    path = tmp_path / "s.npz"
    save_stage(path, jnp.tanh)
    with np.load(path) as file:
        arrays = dict(file)
    text = b'{"tree": {"name": ["antigravity", "fly"]}, "arrays": []}'
    arrays["structure"] = np.frombuffer(text, np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="not a whole stage file"):
        load_stage(path)
    assert "antigravity" not in sys.modules


def test_a_damaged_stage_is_named(tmp_path):
    path = tmp_path / "s.npz"
    save_stage(path, np.arange(1000))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"s\.npz is not a whole stage file .* delete it"):
        load_stage(path)


class _Stop(Exception):
    pass


def _recipe(context, calls, stop_at=None):
    """Stages that show and nest, each noted in `calls`, with a stop before one of them."""

    def work(name, factor):
        if name == stop_at:
            raise _Stop
        calls.append(name)
        context.metrics({"stage": name, "loss": factor / 3})
        if name == "b":
            context.stage("b-inner", work, "b-inner", 7)
        fig, ax = figure(width=1, height=1)
        ax.plot([0, factor])
        context.figure(name, fig, f"Figure {name}.")
        context.note(f"note {name}")
        return {"x": np.full(2, factor), "y": (factor, [None])}

    context.metrics({"begin": 1})
    results = [context.stage(name, work, name, k) for k, name in enumerate("abc")]
    if stop_at == "end":
        raise _Stop
    context.table("t", ["sum"], [[float(sum(r["x"].sum() for r in results))]], "Sum.")
    return repr(results)


def _all_files(folder):
    files = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".npz")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.mark.parametrize("stop_at", ["a", "b", "b-inner", "c", "end"])
def test_resuming_gives_the_result_of_an_unbroken_run(tmp_path, stop_at):
    unbroken = Context(tmp_path / "unbroken")
    wanted = _recipe(unbroken, [])

    calls = []
    with pytest.raises(_Stop):
        _recipe(Context(tmp_path / "run"), calls, stop_at)
    resumed = Context(tmp_path / "run", resume=True)
    assert _recipe(resumed, calls) == wanted
    assert json.dumps(resumed.contents) == json.dumps(unbroken.contents)
    assert _all_files(tmp_path / "run") == _all_files(tmp_path / "unbroken")
    # Finished stages are not computed again; only `b`, stopped in its middle, begins twice.
    assert sorted(calls) == sorted(["a", "b", "b-inner", "c"] + ["b"] * (stop_at == "b-inner"))


@pytest.mark.parametrize("gone", ["a", "b", "b-inner"])
def test_a_picture_that_was_taken_away_is_drawn_again(tmp_path, gone):
    _recipe(Context(tmp_path / "unbroken"), [])
    _recipe(Context(tmp_path / "run"), [])
    (tmp_path / "run" / "figures" / f"{gone}.png").unlink()
    calls = []
    _recipe(Context(tmp_path / "run", resume=True), calls)
    assert _all_files(tmp_path / "run") == _all_files(tmp_path / "unbroken")
    # What lies in a stage is part of it, and its own stages come back.
    assert calls == {"a": ["a"], "b": ["b"], "b-inner": ["b", "b-inner"]}[gone]


def test_without_resume_old_stages_are_not_read(tmp_path):
    assert Context(tmp_path).stage("s", lambda: 1) == 1
    assert Context(tmp_path).stage("s", lambda: 2) == 2
    assert Context(tmp_path, resume=True).stage("s", lambda: 3) == 2


def test_names_are_used_once_and_are_file_names(tmp_path):
    context = Context(tmp_path)
    context.stage("s", lambda: 1)
    with pytest.raises(ValueError, match="a stage named 's' already"):
        context.stage("s", lambda: 2)
    context.stage("draw", lambda: context.table("t", ["a"], [[1]], "c"))
    again = Context(tmp_path, resume=True)
    again.stage("draw", lambda: None)
    for one in (context, again):
        with pytest.raises(ValueError, match="a table named 't' already"):
            one.table("t", ["a"], [[1]], "c")
    for name in ("../s", "", ".s", "a/b", "a b"):
        with pytest.raises(ValueError, match="as for a file"):
            context.stage(name, lambda: 1)
        with pytest.raises(ValueError, match="as for a file"):
            context.folder(name)


def test_a_ragged_table_is_refused(tmp_path):
    with pytest.raises(ValueError, match="row 1 of table 't' has 1 cells; the header has 2"):
        Context(tmp_path).table("t", ["a", "b"], [[1, 2], [1]], "c")


def test_a_training_folder_is_the_same_every_time(tmp_path):
    first = Context(tmp_path).folder("net-0")
    (first / "checkpoint").write_text("x")
    again = Context(tmp_path, resume=True).folder("net-0")
    assert (again / "checkpoint").read_text() == "x"
    assert tmp_path in again.parents


def test_a_pyplot_figure_is_closed(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"backend": "agg"}):
        import matplotlib.pyplot as plt

        fig, _ = plt.subplots(figsize=(1, 1))
        Context(tmp_path).figure("f", fig, "caption")
        assert not plt.fignum_exists(fig.number)
