"""What a stage keeps comes back as it was, and a file that is not what was written is refused."""

import enum
import functools
import json
import os
import random
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

from pullback._archive import write_archive
from pullback.runs import Context
from pullback.runs._stage import StageError, load_stage, save_stage


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
    path = tmp_path_factory.mktemp("stage") / "s.safetensors"
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
    fresh = save_stage(tmp_path / "s.safetensors", {"x": (array, 1)})["x"][0]
    later = load_stage(tmp_path / "s.safetensors")["x"][0]
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
        save_stage(tmp_path / "s.safetensors", value)
    assert list(tmp_path.iterdir()) == []


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
    fresh = save_stage(tmp_path / "s.safetensors", {"nets": [net, net]})["nets"][1]
    later = load_stage(tmp_path / "s.safetensors")["nets"][1]
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


class Kind(enum.Enum):
    NEW = "new"


@pytest.fixture
def small(tmp_path):
    """A small file of a stage, with some of all."""
    path = tmp_path / "s.safetensors"
    words = {
        "weights": np.arange(64.0).reshape(8, 8),
        "loss": [1.0, None],
        "names": ("a", Kind.NEW),
    }
    save_stage(path, {**words, "text": np.array(["one", "two"]), "pair": Pair(1, jnp.bfloat16(2))})
    return path


def test_a_byte_that_is_not_what_was_written_is_refused_wherever_it_stands(small):
    whole, dice = small.read_bytes(), random.Random(0)
    for place in range(0, len(whole), 5):
        other = whole[place] ^ 1 << dice.randrange(8)
        small.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
        with pytest.raises(
            StageError, match=r"^\S+s\.safetensors\b.* Delete it, and the stage runs"
        ):
            load_stage(small)
    for cut in range(0, len(whole), 9):
        small.write_bytes(whole[:cut])
        with pytest.raises(StageError):
            load_stage(small)
    for more in (whole + b"\0", whole + whole, whole[::-1]):
        small.write_bytes(more)
        with pytest.raises(StageError):
            load_stage(small)
    small.write_bytes(whole)
    assert load_stage(small)["names"] == ("a", Kind.NEW)


@pytest.mark.parametrize(
    "tree",
    [
        {"name": ["antigravity", "fly"]},
        {"name": ["pullback.antigravity", "fly"]},
        {"name": ["os", "no_such_name"]},
        {"namedtuple": [["subprocess", "Popen"], [["true"]]]},
        {"namedtuple": [["os", "system"], ["true"]]},
        {"namedtuple": [["builtins", "tuple"], [1]]},
        {"enum": [["os", "environ"], "HOME"]},
        {"enum": [["builtins", "dict"], "fromkeys"]},
        {"object": [["os", "system"], [["a", 1]]]},
        {"object": [["builtins", "dict"], []]},
        {"object": [["test_stage", "Net"], [["colour", 1]]]},
        {"array": 7},
        {"array": -1},
        {"array": None},
        {"dict": [[[], 1]]},
        {"dict": [1]},
        {"list": 3},
        {"partial": []},
        {"what": 1},
        {},
        {"list": [], "tuple": []},
    ],
    ids=lambda tree: json.dumps(tree)[:40],
)
def test_a_whole_file_that_says_what_no_stage_says_is_refused_and_nothing_is_run(tree, tmp_path):
    path = tmp_path / "s.safetensors"
    before = set(sys.modules)
    write_archive(path, {"tree": tree, "arrays": []}, {})
    with pytest.raises(StageError, match=r"s\.safetensors is no stage of this version"):
        load_stage(path)
    assert not {name for name in set(sys.modules) - before if "antigravity" in name}


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "s.safetensors"
    with pytest.raises(StageError, match="there is no such file"):
        load_stage(path)
    path.mkdir()
    with pytest.raises(StageError, match="cannot be read"):
        load_stage(path)
    path.rmdir()
    write_archive(path, {"task": "FlowDensity"}, {"w": np.zeros(2)})
    with pytest.raises(StageError, match="is no stage of this version"):
        load_stage(path)
    np.savez(tmp_path / "old.npz", structure=np.zeros(3, np.uint8))
    (tmp_path / "old.npz").rename(path)
    with pytest.raises(StageError, match="was not written by pullback"):
        load_stage(path)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
        np.arange(10)[::-2],
        np.arange(3, dtype=">f8"),
        np.array([1 + 2j]),
        np.array([b"a", b""]),
        np.array("text"),
        np.zeros((3, 0), np.complex64),
        np.array([True, False]),
        np.float16(1.5),
    ],
    ids=repr,
)
def test_an_array_is_laid_out_as_it_will_be_when_it_is_read(tmp_path, array):
    """A sum over an array in another order rounds otherwise, and a recipe may write to its own."""
    fresh = save_stage(tmp_path / "s.safetensors", [array])[0]
    later = load_stage(tmp_path / "s.safetensors")[0]
    assert (fresh.dtype, fresh.shape, fresh.strides) == (later.dtype, later.shape, later.strides)
    assert fresh.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(fresh, later)
    np.testing.assert_array_equal(later, array)
    for got in (fresh, later):
        assert got.flags.c_contiguous
        assert got.flags.writeable
        assert not np.shares_memory(got, array)


def test_a_stage_that_cannot_be_written_leaves_the_old_one(tmp_path, full_disk):
    context = Context(tmp_path)
    context.stage("s", lambda: np.arange(3))
    whole = (tmp_path / "stages" / "s.safetensors").read_bytes()
    with full_disk(100), pytest.raises(OSError, match=r"stages/s\.safetensors"):
        Context(tmp_path).stage("s", lambda: np.arange(300))
    assert (tmp_path / "stages" / "s.safetensors").read_bytes() == whole
    assert os.listdir(tmp_path / "stages") == ["s.safetensors"]
    assert Context(tmp_path, resume=True).stage("s", lambda: None).tolist() == [0, 1, 2]
