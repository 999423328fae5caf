import functools
import importlib
import pickle
import re
import runpy
import sys
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file

from pullback._archive import read_archive, write_archive
from pullback.models.flows import residual_flow
from pullback.train import (
    CheckpointError,
    Stream,
    fit,
    iterate,
    load_checkpoint,
    load_model,
    read_header,
    save_checkpoint,
)
from pullback.train._structure import structure


def tree_of_everything():
    return {
        "double": jnp.asarray([1 / 3, -0.0, jnp.inf]),
        "half": jnp.asarray([1.5, -2.25], jnp.bfloat16),
        "count": jnp.asarray(7, jnp.int32),
        "flag": jnp.asarray([True, False]),
        "key": jr.key(3),
        "keys": jr.split(jr.key(4), 2),
        "rbg": jr.key(5, impl="rbg"),
        "numpy": np.arange(3),
        "function": jnp.tanh,
        "name": "kept",
    }


def bits(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jr.key_data(leaf)
    return np.asarray(leaf).tobytes()


def test_every_kind_of_leaf_comes_back_bit_for_bit(tmp_path):
    tree = tree_of_everything()
    save_checkpoint(tmp_path / "c.safetensors", tree, {"step": 3, "loss": 0.1})
    loaded, header = load_checkpoint(tmp_path / "c.safetensors", tree)
    assert header == {"step": 3, "loss": 0.1}
    assert loaded["function"] is jnp.tanh
    assert loaded["name"] == "kept"
    assert isinstance(loaded["numpy"], np.ndarray)
    for name in tree.keys() - {"function", "name"}:
        assert loaded[name].dtype == tree[name].dtype, name
        assert loaded[name].shape == tree[name].shape, name
        assert bits(loaded[name]) == bits(tree[name]), name
    # A key that came back draws what the original draws.
    assert jnp.array_equal(jr.normal(loaded["rbg"], (3,)), jr.normal(tree["rbg"], (3,)))


def test_loads_into_a_skeleton_of_shapes(tmp_path, key):
    model = eqx.nn.Linear(2, 3, key=key)
    save_checkpoint(tmp_path / "c.safetensors", model)
    skeleton = eqx.filter_eval_shape(eqx.nn.Linear, 2, 3, key=key)
    loaded, _ = load_checkpoint(tmp_path / "c.safetensors", skeleton)
    assert jnp.array_equal(loaded.weight, model.weight)


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"a": jnp.zeros(2), "b": jnp.zeros((3, 2))}, r"\['b'\] has shape \[2, 3\] .* \[3, 2\]"),
        ({"a": jnp.zeros(2, jnp.float32), "b": jnp.zeros((2, 3))}, r"\['a'\] has dtype float64"),
        ({"a": jnp.zeros(2), "c": jnp.zeros((2, 3))}, r"leaf \['b'\] where .* has \['c'\]"),
        ({"a": jnp.zeros(2)}, r"only the checkpoint has is \['b'\]"),
        (
            {"a": jnp.zeros(2), "b": jnp.zeros((2, 3)), "c": jnp.zeros(1)},
            r"only the structure has is \['c'\]",
        ),
    ],
)
def test_another_structure_is_refused_by_the_first_leaf_that_differs(tmp_path, like, message):
    save_checkpoint(tmp_path / "c.safetensors", {"a": jnp.zeros(2), "b": jnp.zeros((2, 3))})
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "c.safetensors", like)


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_every_cut_and_every_flipped_bit_is_refused(every, tmp_path):
    tree = {"w": jnp.arange(2, dtype=jnp.float32)}
    file = tmp_path / "c.safetensors"
    save_checkpoint(file, tree)
    whole = file.read_bytes()
    cuts = [whole[:cut] for cut in range(len(whole))]
    for damaged in (*cuts[::every], whole + b"\0", *flips(whole, every)):
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"c\.safetensors: "):
            load_checkpoint(file, tree)


def flips(whole, every):
    for bit in range(0, 8 * len(whole), every):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


def test_a_missing_file_and_a_foreign_file(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file"):
        load_checkpoint(tmp_path / "none.safetensors", {})
    with pytest.raises(CheckpointError, match="Is a directory"):
        load_checkpoint(tmp_path, {})
    (tmp_path / "p").write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(CheckpointError, match="not written by pullback"):
        load_checkpoint(tmp_path / "p", {})
    np.savez(tmp_path / "n.npz", w=np.zeros(2))
    with pytest.raises(CheckpointError, match="not written by pullback"):
        load_checkpoint(tmp_path / "n.npz", {"w": jnp.zeros(2)})
    write_archive(tmp_path / "a", {"other": 1}, {})
    with pytest.raises(CheckpointError, match=r"a: is no checkpoint; .* in 3"):
        load_checkpoint(tmp_path / "a", {})
    write_archive(tmp_path / "b", {"checkpoint": 4}, {})
    with pytest.raises(CheckpointError, match=r"is a checkpoint in format 4; .* in 3"):
        load_checkpoint(tmp_path / "b", {})


@pytest.mark.parametrize(
    "other", [np.zeros((3, 2)), np.zeros(6), np.zeros((2, 3), np.float32), None], ids=str
)
def test_a_leaf_that_is_not_what_the_file_says_it_is_is_refused(tmp_path, other):
    """With a digest that fits: the header alone is not believed."""
    tree = {"w": jnp.zeros((2, 3)), "key": jr.key(0)}
    save_checkpoint(tmp_path / "c", tree)
    record, arrays = read_archive(tmp_path / "c")
    for name in ("['w']", "['key']"):
        changed = {**arrays, name: other}
        if other is None:
            del changed[name]
        write_archive(tmp_path / "d", record, changed)
        with pytest.raises(CheckpointError, match=rf"{re.escape(name)} is not the array"):
            load_checkpoint(tmp_path / "d", tree)


@pytest.mark.parametrize(
    "change",
    [
        {"leaves": None}, {"leaves": {}}, {"leaves": ["w"]}, {"leaves": [{"name": "['w']"}]},
        {"leaves": [{"name": "['w']", "shape": [2.0], "dtype": "float64"}]},
        {"leaves": [{"name": ["w"], "shape": [2], "dtype": "float64"}]},
        {"leaves": [{"name": "['w']", "shape": [2], "dtype": "float64", "key": 3}]},
        {"shapes": []}, {"structure": None}, {"structure": {"": 3}}, {"user": [1]}, {"user": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_of_another_hand_is_refused(change, tmp_path):
    save_checkpoint(tmp_path / "c", {"w": jnp.zeros(2)}, {"step": 1})
    record, arrays = read_archive(tmp_path / "c")
    write_archive(tmp_path / "d", {**record, **change}, arrays)
    for read in (read_header, lambda file: load_checkpoint(file, {"w": jnp.zeros(2)})):
        with pytest.raises(CheckpointError, match="d: was not written by `save_checkpoint`"):
            read(tmp_path / "d")


def test_a_key_of_an_unknown_kind_is_refused(tmp_path):
    save_checkpoint(tmp_path / "c", {"k": jr.key(0)})
    record, arrays = read_archive(tmp_path / "c")
    record["leaves"][0]["key"] = "dice"
    write_archive(tmp_path / "d", record, arrays)
    like = {"k": eqx.filter_eval_shape(jr.key, 0)}
    with pytest.raises(CheckpointError, match=r"d: leaf \['k'\] is a key of the kind 'dice'"):
        load_checkpoint(tmp_path / "d", like)


@pytest.mark.parametrize("name", ["float64", "int64", "complex128"])
def test_numbers_that_jax_does_not_keep_are_not_shortened(name, tmp_path, x32):
    tree = {"w": np.arange(3).astype(name)}
    save_checkpoint(tmp_path / "c", tree)
    np.testing.assert_array_equal(load_checkpoint(tmp_path / "c", tree)[0]["w"], tree["w"])
    like = {"w": jax.ShapeDtypeStruct((3,), np.dtype(name))}
    with pytest.raises(CheckpointError, match=rf"\['w'\] has dtype {name}.* `jax_enable_x64`"):
        load_checkpoint(tmp_path / "c", like)


def test_arrays_of_numpy_keep_their_order_of_bytes_and_none_loses_its_mask(tmp_path):
    tree = {"w": np.arange(3, dtype=">f4"), "t": np.array([1 + 2j], ">c16")}
    save_checkpoint(tmp_path / "c", tree)
    found, _ = load_checkpoint(tmp_path / "c", tree)
    for name, array in tree.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(TypeError, match=r"\['w'\] is a masked array, whose mask would be lost"):
        save_checkpoint(tmp_path / "m", {"w": np.ma.masked_equal([1.0, 2.0], 2)})
    assert not (tmp_path / "m").exists()


_PROGRAM = """
import sys, equinox as eqx, jax, jax.numpy as jnp, optax
from pullback.train import fit, save_checkpoint
def double(x):
    return 2 * x
class Model(eqx.Module):
    w: jax.Array
    activation: object = double
class Loss(eqx.Module):
    scale: float = 1.0
    def __call__(self, model, batch, *, key):
        return self.scale * jnp.sum((model.w[None] - batch) ** 2), {}
def go(folder, steps, **more):
    fit(Model(jnp.ones(2)), Loss(), jnp.zeros((4, 2)), optimiser=optax.sgd(0.1), steps=steps,
        batch_size=2, folder=folder, key=jax.random.key(0), **more)
if __name__ == "__main__":
    go(sys.argv[1] + "/run", 2)
    save_checkpoint(sys.argv[1] + "/c", Model(jnp.ones(2)))
"""


def test_what_a_program_defines_is_the_same_for_who_imports_it(tmp_path, monkeypatch):
    (tmp_path / "trains_it.py").write_text(_PROGRAM)
    (tmp_path / "other.py").write_text(_PROGRAM.replace("double", "twice"))
    monkeypatch.setattr(sys, "argv", ["trains_it.py", str(tmp_path)])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    runpy.run_path(str(tmp_path / "trains_it.py"), run_name="__main__")
    train, other = (importlib.import_module(name) for name in ("trains_it", "other"))
    model = train.Model(jnp.zeros(2))
    assert load_checkpoint(tmp_path / "c", model)[0].w.tolist() == [1, 1]
    load_model(tmp_path / "run", model)
    train.go(tmp_path / "run", 4, resume=True)
    save_checkpoint(tmp_path / "d", model)  # and the other way round
    monkeypatch.setattr(sys, "argv", ["trains_it.py", str(tmp_path / "again")])
    found = runpy.run_path(str(tmp_path / "trains_it.py"), run_name="__main__")
    load_checkpoint(tmp_path / "d", found["Model"](jnp.zeros(2)))
    with pytest.raises(CheckpointError, match=r"activation is __main__\.double .* other\.twice"):
        load_checkpoint(tmp_path / "c", other.Model(jnp.zeros(2)))
    save_checkpoint(tmp_path / "e", {"f": jnp.tanh})
    with pytest.raises(CheckpointError, match="double"):
        load_checkpoint(tmp_path / "e", {"f": train.double})


def test_the_file_is_arrays_and_json_and_is_replaced_whole(tmp_path):
    file = tmp_path / "c.safetensors"
    save_checkpoint(file, {"w": jnp.arange(3.0)}, {"step": 1})
    before = file.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(file, {"w": jnp.arange(4.0)}, {"step": object()})
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
    np.testing.assert_array_equal(load_file(file)["['w']"], [0, 1, 2])
    record, arrays = read_archive(file)
    assert list(arrays) == ["['w']"]
    assert record["leaves"] == [{"name": "['w']", "shape": [3], "dtype": "float64"}]
    assert record["user"] == {"step": 1}


class Layer(eqx.Module):
    weight: jax.Array
    bound: float = eqx.field(static=True, default=0.97)
    activation: Callable = jax.nn.relu
    scale: float = 2.0


OTHERS = {
    "bound": (Layer(jnp.ones(2), bound=0.5), r"\.layer\.bound is 0\.97 .* 0\.5"),
    "activation": (Layer(jnp.ones(2), activation=jnp.tanh), r"\.layer\.activation is .*relu.*tanh"),
    "scale": (Layer(jnp.ones(2), scale=3.0), r"\.layer\.scale is 2\.0 .* 3\.0"),
    "type": ({"weight": jnp.ones(2)}, "layer"),
    "partial": (Layer(jnp.ones(2), activation=functools.partial(jax.nn.relu)), r"activation is"),
}


class Model(eqx.Module):
    layer: Any


class Plain:
    """An object that JAX does not know."""

    def __init__(self, number):
        self.number = number

    def times(self, x):
        return self.number * x


def times(number):
    def f(x):
        return number * x if x is not None else f(x)

    return f


READS = {
    "a closure": (times, r"activation\.number is 2 .* 3"),
    "an array": (lambda n: times(jnp.full(2, n)), r"activation\.number is int"),
    "a method": (lambda n: Plain(n).times, r"activation\.__self__\.number is 2 .* 3"),
    "a default": (lambda n: lambda x, b=n: b * x, r"activation\.default0 is 2 .* 3"),
    "a lambda's body": (
        lambda n: (lambda x: 2 * x) if n == 2 else (lambda x: 3 * x),
        r"activation\.constants\[\d\] is '2' .* '3'",
    ),
    "a lambda's operators": (
        lambda n: (lambda x: x + 1) if n == 2 else (lambda x: x - 1),
        r"activation\.operators is '\+' .* '-'",
    ),
    "a lambda's signs": (
        lambda n: (lambda x: -x) if n == 2 else (lambda x: ~x),
        r"activation\.operators is 'UNARY_NEGATIVE' .* 'UNARY_INVERT'",
    ),
    "a lambda within": (
        lambda n: (lambda x: [y < 1 for y in x]) if n == 2 else (lambda x: [y > 1 for y in x]),
        r"activation\.operators is '<' .* '>'",
    ),
    "a compiled function": (lambda n: jax.jit(times(n)), r"activation.*\.number is 2 .* 3"),
    "a part": (lambda n: functools.partial(times(n)), r"activation\.func\.number is 2 .* 3"),
}


@pytest.mark.parametrize("name", READS)
def test_what_a_function_reads_is_a_setting(tmp_path, name):
    make, message = READS[name]
    layer = lambda number: Layer(jnp.zeros(2), activation=make(number))
    save_checkpoint(tmp_path / "c.safetensors", Model(layer(2)))
    load_checkpoint(tmp_path / "c.safetensors", Model(layer(2)))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "c.safetensors", Model(layer(3)))


@pytest.mark.parametrize("name", OTHERS)
def test_another_setting_is_refused_by_its_name(tmp_path, name):
    other, message = OTHERS[name]
    save_checkpoint(tmp_path / "c.safetensors", Model(Layer(jnp.zeros(2))))
    found, _ = load_checkpoint(tmp_path / "c.safetensors", Model(Layer(jnp.ones(2))))
    assert found.layer.weight.tolist() == [0, 0]
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "c.safetensors", Model(other))


class Lookup(eqx.Module):
    table: np.ndarray = eqx.field(static=True)


@pytest.mark.filterwarnings("ignore:A JAX array is being set as static")
def test_an_array_that_is_a_setting_is_one(tmp_path):
    """It is no leaf of the tree, and so not among the arrays of the file."""
    save_checkpoint(tmp_path / "c.safetensors", Lookup(np.array([1.0, 2.0])))
    load_checkpoint(tmp_path / "c.safetensors", Lookup(np.array([1.0, 2.0])))
    with pytest.raises(CheckpointError, match=r"\.table is "):
        load_checkpoint(tmp_path / "c.safetensors", Lookup(np.array([1.0, 3.0])))


def test_the_bound_of_a_flow_is_a_setting(tmp_path):
    """Loaded into another bound the same weights would be another density."""
    flow = lambda bound: residual_flow(2, blocks=1, width=4, bound=bound, key=jr.key(0))
    save_checkpoint(tmp_path / "c.safetensors", flow(0.97))
    found, _ = load_checkpoint(tmp_path / "c.safetensors", flow(0.97))
    x = jnp.array([[0.3, -1.0]])
    np.testing.assert_array_equal(found.log_prob(x), flow(0.97).log_prob(x))
    with pytest.raises(CheckpointError, match=r"layers\[0\]\.bound is 0\.97 in the .* and 0\.5"):
        load_checkpoint(tmp_path / "c.safetensors", flow(0.5))


def test_a_description_has_no_address_and_knows_lambdas_and_partials_by_what_they_are():
    def make():
        part = functools.partial(jnp.sum, axis=0)
        return {"f": lambda x: x, "part": part, "own": object(), "method": make, "none": None}

    one, two = structure(make()), structure(make())
    assert one == two
    assert not any("0x" in text for text in one.values())
    assert one["['f']"] == "<lambda>"
    assert one["['own']"] == "<object object>"
    assert one["['part'].keywords['axis']"] == "0"


def test_a_set_is_described_alike_whatever_its_order():
    """A set of text comes in another order in every process; so here do numbers that collide."""
    one, two = frozenset([8, 16, 24]), frozenset([24, 16, 8])
    assert repr(one) != repr(two)
    assert structure({"kept": one}) == structure({"kept": two})
    assert structure({"kept": one}) != structure({"kept": frozenset([8, 16])})


@pytest.mark.parametrize("way", ["fit", "iterate"])
def test_a_run_is_not_resumed_with_other_settings_or_other_constants(tmp_path, way, key):
    def run(model, resume):
        loss = lambda model, x, *, key: (jnp.mean((model["w"] - x) ** 2), {})
        if way == "fit":
            return fit(
                model, loss, jnp.ones(4), optimiser=optax.sgd(0.1), steps=2 + 2 * resume,
                batch_size=2, log_every=2, folder=tmp_path, resume=resume, key=key,
            )  # fmt: skip
        step = lambda model, x, *, key: (model, {"loss": loss(model, x, key=key)[0]})
        return iterate(step, model, Stream(jnp.ones(4), 2), steps=2 + 2 * resume, log_every=2,
                       folder=tmp_path, resume=resume, key=key)  # fmt: skip

    model = {"w": jnp.zeros(()), "name": "a", "layer": Layer(jnp.ones(2))}
    run(model, False)
    with pytest.raises(CheckpointError, match=r"\['name'\] is 'a' .* 'b'"):
        run({**model, "name": "b"}, True)
    with pytest.raises(CheckpointError, match=r"bound is 0\.97 .* 0\.5"):
        run({**model, "layer": Layer(jnp.ones(2), bound=0.5)}, True)
    if way == "fit":
        with pytest.warns(UserWarning, match="afresh"):
            run({**model, "n": jnp.arange(2)}, False)
        with pytest.raises(CheckpointError, match=r"\['n'\] is int"):
            run({**model, "n": jnp.arange(1, 3)}, True)
    else:
        run(model, True)


def test_a_model_that_holds_the_shapes_of_another_is_kept_and_resumed(tmp_path):
    shape = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    tree = {"w": jnp.arange(3.0), "of": shape}
    save_checkpoint(tmp_path / "x.safetensors", tree)
    found, _ = load_checkpoint(tmp_path / "x.safetensors", {"w": shape_of(tree["w"]), "of": shape})
    np.testing.assert_array_equal(found["w"], tree["w"])
    assert found["of"] == shape
    for other in (jax.ShapeDtypeStruct((2, 4), jnp.float32), jnp.zeros((2, 3), jnp.float32)):
        with pytest.raises(CheckpointError, match=r"\['of'\] is float32\[2, 3\] in the checkp"):
            load_checkpoint(tmp_path / "x.safetensors", {**tree, "of": other})
    loss = lambda model, batch, *, key: (jnp.sum(model["w"] ** 2), {})
    for steps, resume in ((2, False), (4, True)):
        model, info = fit({"w": jnp.ones(3), "of": shape}, loss, optimiser=optax.sgd(0.1),
                          steps=steps, folder=tmp_path, resume=resume, key=jr.key(0))  # fmt: skip
    np.testing.assert_allclose(model["w"], 0.8**4, rtol=1e-12)
    assert info.step == 4


def shape_of(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
