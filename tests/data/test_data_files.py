import gzip
import hashlib
import http.server
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from pullback.data import DataError, digits, fashion_mnist, fetch, mnist, read_idx
from pullback.data import _fetch as fetch_module


def idx(array, code, format):
    """The bytes of an idx file, written value by value from the format's description."""
    sizes = b"".join(struct.pack(">I", size) for size in array.shape)
    values = b"".join(struct.pack(">" + format, value) for value in array.ravel().tolist())
    return bytes([0, 0, code, array.ndim]) + sizes + values


@pytest.mark.parametrize(
    ("code", "format", "dtype"),
    [
        (8, "B", "u1"),
        (9, "b", "i1"),
        (11, "h", "i2"),
        (12, "i", "i4"),
        (13, "f", "f4"),
        (14, "d", "f8"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_of_every_type(code, format, dtype, zipped, tmp_path):
    array = (np.arange(24).reshape(2, 3, 4) * 5 - (0 if code == 8 else 60)).astype(dtype)
    content = idx(array, code, format)
    (tmp_path / "a").write_bytes(gzip.compress(content) if zipped else content)
    got = read_idx(tmp_path / "a")
    assert got.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG\r\n", "begins with 89 50 4e 47"),
        (b"\0\0\x07\x01\0\0\0\x01\0", "begins with 00 00 07 01"),
        (b"\0\0\x08\x03\0\0\0\x01", "sizes of 3 dimensions, but the file ends"),
        (idx(np.zeros((2, 3)), 13, "f")[:-1], "is cut off: .* 2 x 3 values, 24 bytes, and 23"),
        (idx(np.zeros((2, 3)), 13, "f") + b"x", "is too long"),
        (gzip.compress(idx(np.zeros(99), 13, "f"), mtime=0)[:-12], "gzip stream is cut off"),
        (
            gzip.compress(idx(np.zeros(99), 13, "f"), mtime=0)[:10] + b"\xff" * 20,
            "gzip stream is damaged",
        ),
    ],
)
def test_a_broken_idx_file_is_named_with_the_reason(content, message, tmp_path):
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(DataError, match=f"broken: .*{message}") as caught:
        read_idx(tmp_path / "broken")
    assert caught.value.file == tmp_path / "broken"


def sizes(*lengths, code=8):
    return bytes([0, 0, code, len(lengths)]) + struct.pack(f">{len(lengths)}I", *lengths)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (sizes(2**32 - 1, 2**32 - 1), "is cut off: .* 18446744065119617025 bytes, and 0 bytes"),
        (sizes(0, 2**32 - 1), "expected sizes of an array, got 0 x 4294967295"),
        (sizes(*[1] * 40) + b"1", "expected sizes of an array, got 1 x 1 x .*"),
        (gzip.compress(sizes(2**30) + b"1" * 9), "unpacks to more than 100 times its size"),
        (gzip.compress(sizes(1000) + b"1" * 999), "is cut off: .* 1000 bytes, and 999 bytes"),
        (gzip.compress(sizes(1000) + b"1" * 1001), "is too long: its header promises 1000 values"),
        (gzip.compress(sizes(9) + bytes(9 << 20)), "is too long: its header promises 9 values"),
        (gzip.compress(sizes(9) + bytes(9))[:-8] + bytes(8), "damaged: CRC check failed"),
    ],
)
def test_sizes_that_an_idx_file_has_not(content, message, tmp_path):
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(DataError, match=f"broken: .*{message}"):
        read_idx(tmp_path / "broken")


def test_an_idx_file_without_values(tmp_path):
    (tmp_path / "none").write_bytes(sizes(0, 28, 28))
    assert read_idx(tmp_path / "none").shape == (0, 28, 28)


def test_idx_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_idx(tmp_path / "none")
    with pytest.raises(DataError, match="directory"):
        read_idx(tmp_path)


def write_mnist(folder, *, train=3, test=2, shift=0):
    folder.mkdir(parents=True, exist_ok=True)
    for name, n in (("train", train), ("t10k", test)):
        images = (np.arange(n * 784).reshape(n, 28, 28) + shift) % 256
        labels = np.arange(n) % 10
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(idx(images.astype("u1"), 8, "B"))
        )
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels.astype("u1"), 8, "B"))


@pytest.fixture
def no_data(monkeypatch, tmp_path):
    monkeypatch.delenv("PULLBACK_DATA", raising=False)
    monkeypatch.setattr(fetch_module, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(
        "pullback.data._places.cache_folder", lambda name: tmp_path / "cache" / name
    )


def test_mnist_from_each_of_its_places(no_data, monkeypatch, tmp_path):
    write_mnist(tmp_path / "named" / "mnist")
    for folder in (tmp_path / "named", tmp_path / "named" / "mnist"):
        train, test = mnist(folder)
        assert (train.x.dtype, train.y.dtype) == (np.float32, np.int32)
        expected = (np.arange(3 * 784).reshape(3, 28, 28) % 256) / 255
        np.testing.assert_allclose(train.x, expected, rtol=1e-6)
        assert (train.y.tolist(), test.y.tolist()) == ([0, 1, 2], [0, 1])
    write_mnist(tmp_path / "cache" / "mnist", train=5)
    assert len(mnist().train.x) == 5
    monkeypatch.setenv("PULLBACK_DATA", str(tmp_path / "named"))
    assert len(mnist().train.x) == 3
    # The files have the same names: MNIST is not to be taken for Fashion-MNIST.
    monkeypatch.setenv("PULLBACK_DATA", str(tmp_path / "named" / "mnist"))
    with pytest.raises(DataError, match="pullback data fetch fashion-mnist"):
        fashion_mnist()
    write_mnist(tmp_path / "both" / "fashion-mnist", train=7)
    monkeypatch.setenv("PULLBACK_DATA", str(tmp_path / "both"))
    assert len(fashion_mnist().train.x) == 7


def test_a_missing_file_lists_where_it_was_looked_for(no_data, tmp_path):
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: not found in") as caught:
        mnist(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere" / "mnist") in str(caught.value)
    with pytest.raises(DataError, match="cache/mnist"):
        mnist()


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("train-images-idx3-ubyte.gz", np.zeros((3, 27, 28)), r"28 x 28 bytes, got .*27"),
        ("train-labels-idx1-ubyte", np.zeros(4), "each of the 3 images"),
        ("train-labels-idx1-ubyte", np.zeros(()), "each of the 3 images"),
        ("train-images-idx3-ubyte.gz", np.zeros((0, 27, 28)), "28 x 28 bytes, got .*0, 27"),
        ("train-labels-idx1-ubyte", np.array([1, 10, 2]), "got 10 at 1"),
    ],
)
def test_files_that_do_not_fit_together(no_data, file, array, message, tmp_path):
    write_mnist(tmp_path)
    content = idx(array.astype("u1"), 8, "B")
    (tmp_path / file).write_bytes(gzip.compress(content) if file.endswith("gz") else content)
    with pytest.raises(DataError, match=f"{file}: .*{message}"):
        mnist(tmp_path)


def test_a_set_of_no_pictures(no_data, tmp_path):
    write_mnist(tmp_path, train=0)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: expected images; there is"):
        mnist(tmp_path)


def test_the_real_mnist():
    folder = os.environ.get("PULLBACK_DATA")
    if folder is None or not (Path(folder) / "mnist").is_dir():
        pytest.skip("PULLBACK_DATA names no folder with MNIST in it")
    train, test = mnist()
    assert (train.x.shape, test.x.shape) == ((60000, 28, 28), (10000, 28, 28))
    # The published mean and standard deviation, and the published counts of the classes.
    np.testing.assert_allclose(train.x.mean(dtype=float), 0.1307, atol=5e-5)
    np.testing.assert_allclose(train.x.std(dtype=float), 0.3081, atol=5e-5)
    assert np.bincount(test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_digits_are_split_evenly_and_hold_the_bundled_images():
    pixels, classes = map(np.asarray, datasets.load_digits(return_X_y=True))
    train, test = digits(seed=3)
    for part in (train, test):
        share = np.bincount(part.y) / len(part.y)
        np.testing.assert_allclose(share, np.bincount(classes) / 1797, atol=2e-3)
    got = np.concatenate([train.x, test.x]).reshape(-1, 64)
    labels = np.concatenate([train.y, test.y])
    order, bundled = np.lexsort(got.T), np.lexsort(pixels.T)
    np.testing.assert_array_equal(16 * got[order], pixels[bundled])
    np.testing.assert_array_equal(labels[order], classes[bundled])
    assert not np.array_equal(digits(seed=4).test.y, test.y)
    with pytest.raises(ValueError, match=r"between 0\.01 and 0\.99, got 1\.5"):
        digits(test_fraction=1.5)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A web server on this machine, and a data set of two files that it has."""
    served = tmp_path / "served"
    write_mnist(served / "good")
    write_mnist(served / "bad", shift=1)
    monkeypatch.delenv("PULLBACK_DATA", raising=False)
    # A proxy for the rest of the world is none for this machine.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(served))

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    digests = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (served / "good").iterdir()
    }

    def use(*mirrors):
        source = fetch_module._Source(tuple(f"{url}/{name}/" for name in mirrors), digests)
        monkeypatch.setattr(fetch_module, "_SOURCES", {"mnist": source})

    yield use
    server.shutdown()
    server.server_close()
    thread.join()


def test_fetch_takes_the_first_mirror_whose_file_is_right(mirror, tmp_path):
    mirror("missing", "bad", "good")
    folder = fetch("mnist", tmp_path / "fetched")
    assert sorted(file.name for file in folder.iterdir())[0] == "t10k-images-idx3-ubyte.gz"
    assert len(mnist(folder).train.x) == 3
    # What is there and right is not fetched again; what was damaged is.
    damaged = folder / "t10k-labels-idx1-ubyte"
    damaged.write_bytes(b"damaged")
    fetch("mnist", folder)
    assert mnist(folder).test.y.tolist() == [0, 1]
    mirror("missing")
    assert fetch("mnist", folder) == folder


def test_fetch_says_what_each_mirror_answered_and_leaves_nothing(mirror, tmp_path):
    mirror("missing", "bad")
    with pytest.raises(DataError) as caught:
        fetch("mnist", tmp_path / "fetched")
    text = str(caught.value)
    assert "missing/: 404" in text
    assert "does not match the known hash" in text
    assert "SHA-256 must be" in text
    left = [file.name for file in (tmp_path / "fetched").iterdir()]
    # Only what both mirrors have alike, the labels.
    assert not [name for name in left if "images" in name]


def test_no_mirror_is_blamed_for_a_full_disk_or_a_file_in_the_place_of_a_folder(
    mirror, tmp_path, full_disk
):
    mirror("good", "good")
    with full_disk(5), pytest.raises(OSError, match=r"File too large.*idx\d-ubyte'$"):
        fetch("mnist", tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match=r"taken'$"):
        fetch("mnist", tmp_path / "taken")
    assert len(mnist(fetch("mnist", tmp_path / "new")).train.x) == 3


def test_fetch_of_an_unknown_name():
    with pytest.raises(
        ValueError, match="one of mnist, fashion-mnist, breast-cancer, diabetes, wine; got 'minst'"
    ):
        fetch("minst")


def test_importing_the_room_loads_neither_jax_nor_scikit_learn():
    code = (
        "import sys, pullback.data; "
        "print([name for name in ('jax', 'sklearn', 'pooch', 'matplotlib') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["breast-cancer", "diabetes", "wine"])
def test_bundled_tables_are_scikit_learns_with_every_fifth_row_put_aside(name, tmp_path):
    load = getattr(datasets, f"load_{name.replace('-', '_')}")
    known = load(scaled=False) if name == "diabetes" else load()
    assert fetch(name, tmp_path / "new") == tmp_path / "new"
    old, new = (pd.read_csv(tmp_path / "new" / f"{name}{part}.csv") for part in ("", "-new"))
    assert (new.id % 5 == 0).all()
    both = pd.concat([old, new]).sort_values("id")
    assert both.id.tolist() == list(range(1, len(known.data) + 1))
    np.testing.assert_allclose(both.iloc[:, 1:-1].to_numpy(float), known.data, rtol=1e-9)
    label = both.iloc[:, -1].to_numpy()
    wanted = known.target if name == "diabetes" else known.target_names[known.target]
    np.testing.assert_array_equal(label, wanted)
