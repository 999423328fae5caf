"""The same rows from the device, from a file and from a dataset; batches that are drawn."""

import subprocess
import sys
import threading
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from pullback.train import Stream, TrainingError, fit, iterate
from pullback.train._order import _LISTED, batches

ADAM = optax.adam(0.1)


def rows(n=50, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)).astype(np.float32), rng.normal(size=n).astype(np.float32)


def loss(w, batch, *, key):
    x, y = batch
    noise = jr.normal(key, y.shape, y.dtype)
    return jnp.mean((x @ w - y + 0.1 * noise) ** 2), {"size": jnp.sum(jnp.abs(w))}


class Dataset:
    """Examples as a torch or Grain dataset gives them."""

    def __init__(self, x, y):
        self.x, self.y = x, y
        self.threads = set()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        self.threads.add(threading.current_thread().name)
        return self.x[i], self.y[i]


class Endless:
    """Examples of any number."""

    def __getitem__(self, i):
        return np.zeros(3), 0.0


class Table(dict):
    """As tables are: a column by its name."""

    def __init__(self):
        super().__init__(x=np.zeros(5))


def mapped(folder, arrays):
    found = []
    for number, array in enumerate(arrays):
        np.save(folder / f"{number}.npy", array)
        found.append(np.load(folder / f"{number}.npy", mmap_mode="r"))
    return tuple(found)


def run(data, key=None, start=None, **change):
    options: dict[str, Any] = dict(optimiser=ADAM, steps=25, batch_size=8, log_every=10) | change
    start = jnp.zeros(3, jnp.float32) if start is None else start
    return fit(start, loss, data, key=jr.key(3) if key is None else key, **options)


def test_the_same_rows_give_the_same_bits_wherever_they_lie(tmp_path, monkeypatch):
    expected, told = run(rows())
    dataset = Dataset(*rows())
    # A piece for every step, and then all of a chunk at once.
    for limit in (1, 2**26):
        monkeypatch.setattr("pullback.train._sources._BYTES", limit)
        for data in (dataset, mapped(tmp_path, rows()), (mapped(tmp_path, rows())[0], rows()[1])):
            found, info = run(data)
            np.testing.assert_array_equal(found, expected)
            np.testing.assert_array_equal(info.history["loss"], told.history["loss"])
    assert all(name.startswith("pullback-data") for name in dataset.threads - {"MainThread"})
    assert len(dataset.threads) > 1  # read ahead, and not by the thread that waits for the device


@pytest.mark.parametrize("sequential", [False, True])
def test_a_stack_reads_from_the_host_as_each_of_its_runs(sequential):
    keys, start = jr.split(jr.key(0), 3), jr.normal(jr.key(1), (3, 3), jnp.float32)
    found, _ = run(Dataset(*rows()), keys, start, sequential=sequential)
    for i in range(3):
        np.testing.assert_allclose(found[i], run(rows(), keys[i], start[i])[0], rtol=2e-6)


def test_the_same_bits_from_the_host_on_four_devices():
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
    on_device, _ = run(rows(), mesh=mesh)
    from_host, _ = run(Dataset(*rows()), mesh=mesh)
    np.testing.assert_array_equal(from_host, on_device)


def test_a_function_draws_another_batch_at_each_step_and_for_each_run():
    def step(seen, batch, *, key):
        count, values = seen
        return (count + 1, values.at[count].set(batch)), {}

    state = (jnp.zeros(2, int), jnp.zeros((2, 6)))
    keys = jr.split(jr.key(0))
    (_, values), _ = iterate(step, state, jr.normal, steps=6, log_every=4, key=keys)
    assert len(np.unique(values)) == 12
    (_, alone), _ = iterate(
        step, (jnp.asarray(0), jnp.zeros(6)), jr.normal, steps=6, log_every=5, key=keys[1]
    )
    np.testing.assert_array_equal(alone, values[1])


def test_a_mean_of_drawn_samples_is_found():
    """Steps of 1/s make the model the mean of all samples: 4 standard errors of it."""
    found, info = fit(
        jnp.asarray(0.0), lambda m, batch, *, key: (0.5 * jnp.mean((m - batch) ** 2), {}),
        lambda key: 2.0 + jr.normal(key, (16,)), optimiser=optax.sgd(lambda s: 1 / (s + 1)),
        steps=400, key=jr.key(0),
    )  # fmt: skip
    assert abs(float(found) - 2) < 4 / np.sqrt(400 * 16)
    assert info.step == 400


def test_named_streams_of_every_kind_come_together():
    def step(total, batch, *, key):
        assert set(batch) == {"device", "host", "drawn"}
        sums = jnp.stack([batch["device"].sum(), batch["host"].sum(), batch["drawn"].sum()])
        return total + sums, {}

    data = np.arange(6.0)

    class Host(Dataset):
        def __getitem__(self, i):
            return self.x[i]

    streams = {"device": Stream(data, 2), "host": Stream(Host(data, None), 3),
               "drawn": lambda key: jnp.ones(4)}  # fmt: skip
    found, _ = iterate(step, jnp.zeros(3), streams, steps=6, log_every=4, key=jr.key(0))
    assert found.tolist() == [30, 45, 24]  # two epochs, three, and the same each time


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data": lambda key: jr.normal(key, (3,))}, ValueError, "must be left out for a function"),
        ({"data": rows(), "batch_size": None}, ValueError, "from 1 to 50, the number of examples"),
        ({"data": Dataset(*rows()), "batch_size": 51}, ValueError, "from 1 to 50"),
        ({"data": Dataset(*rows(0))}, ValueError, "at least one example"),
        ({"data": rows(), "validation": Dataset(*rows())}, ValueError, "must be arrays or a func"),
        ({"data": Table()}, TypeError, r"first example as data\[0\].*data.to_numpy\(\)"),
        ({"data": Dataset(["a", "b"], [1.0, 2.0])}, TypeError, r"numbers; got <U1 at example\[0\]"),
        ({"data": Endless()}, ValueError, "must have a length.*object of type Endless"),
        ({"data": rows(), "sequential": True}, ValueError, "give `key` as many keys"),
    ],
)
def test_what_does_not_fit_is_said_before_any_step(change, error, message):
    with pytest.raises(error, match=message):
        run(**change)


def test_what_the_source_raises_comes_through():
    class Broken(Dataset):
        def __getitem__(self, i):
            if i == 7:
                raise OSError("example 7 cannot be read")
            return super().__getitem__(i)

    with pytest.raises(OSError, match="example 7 cannot be read"):
        run(Broken(*rows()))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_file_of_any_layout_gives_the_same_bits(order, mode, tmp_path):
    x, _ = rows()
    loss = lambda w, batch, *, key: (jnp.mean((batch - w[None]) ** 2), {})
    train = lambda data: fit(jnp.zeros(3, jnp.float32), loss, data, optimiser=ADAM, steps=9,
                             batch_size=8, key=jr.key(0))[0]  # fmt: skip
    expected = train(x)
    for dtype, row in ((">f4", slice(20, 70)), ("<f8", slice(69, 19, -1))):
        file = np.memmap(tmp_path / "x", dtype, "w+", shape=(80, 3), order=order)
        file[row] = x
        file.flush()
        data = np.memmap(tmp_path / "x", dtype, mode, shape=(80, 3), order=order)[row]
        if dtype == "<f8":
            data = data.astype("<f4")
        for same in (data, np.asarray(data)):
            np.testing.assert_array_equal(train(same), expected)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (np.zeros(2), r"first, float64\[\]; example 7 has float64\[2\]"),
        (1, r"float64\[\]; example 7 has int64\[\]"),
        ((0.5, 0.5), r"float64\[\]; example 7 has \('float64\[\]', 'float64\[\]'\)"),
        ("none", r"float64\[\]; example 7 has <U4\[\]"),
    ],
)
def test_an_example_of_another_kind_is_named(other, message):
    class Uneven(Dataset):
        def __getitem__(self, i):
            return other if i == 7 else 0.5

    loss = lambda w, batch, *, key: (jnp.mean((batch - w) ** 2), {})
    with pytest.raises(ValueError, match=message):
        fit(jnp.zeros(()), loss, Uneven(*rows()), optimiser=ADAM, steps=9, batch_size=8,
            key=jr.key(0))  # fmt: skip


def test_steps_may_be_logged_as_rarely_as_one_likes():
    """What is laid out for a chunk is bounded, whatever `log_every` is."""
    for data in (rows(), Dataset(*rows())):
        found, _ = run(data, log_every=10**9)
        np.testing.assert_array_equal(found, run(data)[0])


def test_a_batch_of_no_rows_is_said():
    with pytest.raises(TrainingError, match="The batch that was drawn has no rows"):
        run(lambda key: (rows()[0][:0], rows()[1][:0]), batch_size=None)
    half = lambda w, batch, *, key: (jnp.mean(w - jnp.mean(batch).astype(w.dtype)), {})
    with pytest.raises(TrainingError, match="Row 0 of the batch that was drawn is not finite"):
        fit(jnp.zeros(3), half, lambda key: jnp.full((2, 3), jnp.nan, jnp.bfloat16),
            optimiser=ADAM, steps=1, key=jr.key(0))  # fmt: skip


def test_a_row_on_the_host_that_is_not_finite_is_named():
    x, y = rows()
    x[33, 1] = np.nan
    for data in ((x, y), Dataset(x, y)):
        with pytest.raises(TrainingError, match="Row 33 of `data`, which is in this batch"):
            run(data)
    with pytest.raises(TrainingError, match="Row 2 of the batch that was drawn is not finite"):
        run(lambda key: (x[31:39], y[31:39]), batch_size=None)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 64, 65, 1000])
def test_a_long_order_is_a_permutation_too(size, monkeypatch):
    monkeypatch.setattr("pullback.train._order._LISTED", 0)
    batch = max(1, size // 3)
    epochs = batches(0, 4 * size, size=size, batch_size=batch, seed=(1, 2)).reshape(-1, size)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(size), (len(epochs), 1)))
    if size > 9:
        assert len(np.unique(epochs, axis=0)) == len(epochs)


def test_a_long_order_is_spread_evenly():
    """The counts of 8 by 8 cells, of the place and the entry, are those of chance: chi squared."""
    size, cells = _LISTED + 12_345, 8
    entries = batches(0, 1, size=size, batch_size=size, seed=(5,))[0]
    place, entry = np.arange(size) * cells // size, entries * cells // size
    counts = np.bincount(place * cells + entry, minlength=cells**2)
    chi = np.sum((counts - size / cells**2) ** 2 / (size / cells**2))
    freedom = (cells - 1) ** 2
    assert abs(chi - freedom) < 4 * np.sqrt(2 * freedom)
    steps = np.diff(entries)
    assert abs(np.corrcoef(entries[:-1], entries[1:])[0, 1]) < 4 / np.sqrt(size)
    assert len(np.unique(steps)) > 0.5 * size


_PROGRAM = """
import resource, sys
import jax, jax.numpy as jnp, numpy as np, optax
from pullback.train import fit
x = np.load(sys.argv[1], mmap_mode="r")
loss = lambda w, batch, *, key: (jnp.mean((batch - w) ** 2), {})
fit(jnp.zeros(16), loss, x[:1000], optimiser=optax.sgd(0.1), steps=20, batch_size=64,
    key=jax.random.key(0))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fit(jnp.zeros(16), loss, x, optimiser=optax.sgd(0.1), steps=2000, batch_size=64,
    key=jax.random.key(0))
print(len(x), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_memory_does_not_grow_with_the_file(tmp_path):
    """Ten million rows, 640 MB, of which 128,000 are read: the peak stays that of a thousand."""
    file = tmp_path / "x.npy"
    # Without data in it the file takes no room on the disk, and is read as zeros.
    np.lib.format.open_memmap(file, "w+", np.float32, (10**7, 16)).flush()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(file)], capture_output=True, text=True, check=True
    )
    size, grown = map(int, done.stdout.split())
    unit = 1 if sys.platform == "darwin" else 1024
    assert size == 10**7
    assert grown * unit < 64e6


@pytest.mark.parametrize("stack", [False, True])
def test_a_loss_may_need_no_examples(stack, tmp_path):
    """Gradient descent on a quadratic, in closed form; and what is frozen belongs to each run."""

    def loss(both, batch, *, key):
        assert batch is None
        w, goal = both
        return 0.5 * jnp.sum((w - goal) ** 2), {}

    start, goal = jnp.zeros(2), jnp.asarray([1.0, 3.0])
    key = jr.split(jr.key(0)) if stack else jr.key(0)
    (found, kept), _ = fit((start, goal), loss, trainable=(True, False), optimiser=optax.sgd(0.1),
                           steps=7, folder=tmp_path, key=key)  # fmt: skip
    np.testing.assert_allclose(found, goal * (1 - 0.9**7), rtol=1e-12)
    np.testing.assert_array_equal(kept, goal)
    with pytest.raises(ValueError, match="`batch_size` needs `data`"):
        fit((start, goal), loss, optimiser=optax.sgd(0.1), steps=7, batch_size=3, key=key)
