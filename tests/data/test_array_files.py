"""Files of arrays: what is damaged, or not as its loader wants it, is told before it is taken."""

import io
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import pullback
from pullback.data import DataError, cifar10_subset, omniglot, read_array, read_table, uniprobe

X = np.arange(6.0).reshape(3, 2)
BYTES = X.tobytes()


def npy(array, **kwargs):
    file = io.BytesIO()
    np.save(file, array, **kwargs)
    return file.getvalue()


def header(text, version=1):
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode("latin-1")


def described(descr="'<f8'", order="False", shape="(3, 2)", values=BYTES):
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"
    return header(text) + values


def packed(path, method=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name twice
        for name, content in members.items():
            archive.writestr(f"{name.rstrip('_')}.npy", content)
    return path


@pytest.mark.parametrize(
    "array",
    [
        X,
        X.astype(">f4"),
        np.asfortranarray(X),
        np.array(3),
        np.zeros((0, 4), np.int8),
        np.array([[True, False]]),
        np.arange(24, dtype=np.uint16).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(3.0).astype(np.float16),
        np.array([1 << 63], np.uint64),
    ],
)
def test_arrays_come_back_as_they_were_written(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", array)
    np.savez_compressed(tmp_path / "b.npz", array)
    for name in ("a.npy", "a.npz", "b.npz"):
        found = read_array(tmp_path / name)
        assert found.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, array)


def test_headers_of_other_writers(tmp_path):
    for text in (
        '{"shape": (3L, 2L), "descr": "<f8", "fortran_order": False}',
        "{'descr':'<f8','fortran_order':False,'shape':(3,2)}   \n",
    ):
        for version in (1, 2, 3):
            (tmp_path / "a.npy").write_bytes(header(text, version) + X.tobytes())
            np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), X)


HUGE = "(99999999999, 2)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x is no array of NumPy's: it begins with b''"),
        (
            described()[:-1],
            r"x is cut off: its header promises float64 of shape \(3, 2\), 48 bytes",
        ),
        (described() + b"1", "x is too long: .*48 bytes, and 49 follow"),
        (described(shape=HUGE), "x claims the shape"),
        (described(shape="(0, 1099511627776)", values=b""), "x claims the shape"),
        (described(shape="(-3, 2)"), "x has a damaged header"),
        (described(shape=f"({'9' * 5000}, 2)"), "x has a damaged header"),
        (described(shape=f"({'1, ' * 33})"), "x has a damaged header"),
        (described("'|O'"), "x holds Python objects, which are not read"),
        (described("'<M8[ns]'"), r"x holds values of type '<M8\[ns\]'; write numbers or text"),
        (described("'<f16'"), "x holds values of type '<f16'"),
        (described("'|V8'"), "x holds values of type"),
        (described("[('a', '<f8')]"), "x holds records; give an array of one type a column"),
        (described("'<c8'"), "expected numbers in x, got complex64"),
        (described("'<U2'"), "expected numbers in x, got <U2"),
        (described("'|b1'", shape="(3, 16)"), "expected numbers in x, got bool"),
        (described(shape="(6,)"), r"expected x of shape n x n, got \(6,\)"),
        (described(order="0"), "x has a damaged header"),
        (header("{" * 20_000), "x has a damaged header"),
        (described().replace(b"NUMPY\1", b"NUMPY\7"), "x is no array of NumPy's"),
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_header_is_compared_with_what_there_is(tmp_path, content, message, method):
    with pytest.raises(DataError, match=rf"t\.npz: {message}"):
        read_table(packed(tmp_path / "t.npz", method, x=content))


def test_what_an_array_of_anything_may_hold(tmp_path):
    for content, message in (
        (described("'|b1'", shape="(48,)"), "holds bytes above 1 for true and false"),
        (described("'<U4'", shape="(3,)"), "expected numbers in the array, got <U4"),
        (npy(np.array([{}]), allow_pickle=True), "the array holds Python objects"),
    ):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_array(tmp_path / "a.npy")
    packed(tmp_path / "a.npz", a=npy(X), b=npy(X))
    with pytest.raises(DataError, match=r"which array is meant\? It has a, b\.$"):
        read_array(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"which array is meant\? It has a, b; call it images"):
        read_array(tmp_path / "a.npz", ["images"])
    np.testing.assert_array_equal(read_array(tmp_path / "a.npz", ["images", "b"]), X)
    with zipfile.ZipFile(tmp_path / "none.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    with pytest.raises(DataError, match="holds no array"):
        read_array(tmp_path / "none.npz")
    with pytest.raises(DataError, match=r"none\.npy: cannot be read: No such file"):
        read_array(tmp_path / "none.npy")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_array(tmp_path)


def test_archives_that_cannot_be_unpacked(tmp_path):
    path = tmp_path / "t.npz"
    np.savez_compressed(path, x=X, y=np.arange(3))
    whole = path.read_bytes()
    first = whole.index(b"PK\1\2")
    second = whole.index(b"PK\1\2", first + 4)

    def changed(place, *values, end=None):
        return whole[:place] + bytes(values) + whole[place + len(values) : end]

    def both(after, before):
        content = bytearray(whole)
        content[before] = content[first + after] = content[before] ^ 1
        return bytes(content)

    damaged = whole[:60] + b"\xff\xff\xff" + whole[63:]
    for content, message in (
        (b"nothing", "cannot be read as npz: File is not a zip file. .*get it anew"),
        (b"", "cannot be read as npz: File is not a zip file"),
        (npy(X), r"it is one array \(npy\); write it by numpy.savez\(file, x=\.\.\.\)"),
        (whole[:-30], "cannot be read as npz: "),
        (damaged, "cannot be read as npz: "),
        (changed(first + 8, 1), "'x.npy' is locked by a password"),
        (changed(first + 10, 14), "'x.npy' is packed by a way not known here"),
        (changed(first + 10, 99), "'x.npy' is packed by a way not known here"),
        (changed(first + 16, whole[first + 16] ^ 1), ".* it says two things of 'x.npy'"),
        (both(16, 14), ".* Bad CRC-32 for file 'x.npy'"),
        (changed(first + 24, 0, 0, 0, 127), "unpacks to more than 200 times its size"),
        (changed(second + 46, ord("z")), ".*directory 'z.npy' and header b'y.npy' differ"),
        (changed(len(whole) - 12, 3), "cannot be read as npz: it has 2 members, and should have 3"),
    ):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"t\.npz: {message}"):
            read_table(path)
    with pytest.raises(DataError, match="has two arrays 'x'"):
        read_table(packed(path, x=npy(X), x_=npy(X)))
    packed(path, zipfile.ZIP_LZMA, x=npy(X))
    with pytest.raises(DataError, match="pack it anew by the usual one"):
        read_table(path)


def test_one_array_is_no_table(tmp_path):
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(DataError, match=r"one array \(npy\); write a table by numpy.savez"):
        read_table(tmp_path / "x.npy")


def test_archives_of_other_writers(tmp_path):
    """To a pipe, where sizes come after the bytes, and behind something else."""

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *place):
            raise OSError("it is a pipe")

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy(X))
        archive.writestr("readme.txt", "")
    for content in (pipe.getvalue(), b"#!/bin/sh" + packed(tmp_path / "t", x=npy(X)).read_bytes()):
        (tmp_path / "t.npz").write_bytes(content)
        np.testing.assert_array_equal(read_table(tmp_path / "t.npz").values, X)


def test_an_archive_that_swells_is_refused_before_it_is_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "t.npz", x=np.zeros(((1 << 22) - 9, 2)), other=np.zeros(3))
    assert (tmp_path / "t.npz").stat().st_size < 1 << 17
    read_table(tmp_path / "t.npz")  # 64 MiB are no harm
    np.savez_compressed(tmp_path / "t.npz", x=np.zeros((1 << 22, 2)), y=np.zeros(1 << 22))
    with pytest.raises(DataError, match=r"unpacks to more than 200 times its size.*numpy.savez"):
        read_table(tmp_path / "t.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": X + 1j}, "expected numbers in x, got complex128"),
        ({"x": X.astype(str)}, "expected numbers in x, got"),
        ({"x": X[:, 0]}, r"expected x of shape n x n, got \(3,\)"),
        ({"x": X[:, :0]}, "expected columns in x; it has none"),
        ({"x": X[:0]}, "expected a row without holes"),
        ({"x": np.where(X == 4, np.inf, X)}, "row 3 has an infinity"),
        ({"x": X, "y": np.arange(4)}, r"expected y of shape \(3,\), .* got \(4,\)"),
        ({"x": X, "y": np.array(2.0)}, r"expected y of shape \(3,\), .* got \(\)"),
        ({"x": X, "y": X}, r"got \(3, 2\)\. Columns of inputs belong into x"),
        ({"x": X, "y": np.array(["a", "b", "c"])}, "expected numbers in y, got <U1"),
        ({"x": X, "y": 1j * np.arange(3)}, "expected numbers in y, got complex128"),
    ],
)
def test_tables_of_numbers(tmp_path, changes, message):
    np.savez(tmp_path / "t.npz", **changes)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "t.npz")


def test_a_column_as_the_target(tmp_path):
    np.savez(tmp_path / "t.npz", x=X.astype(np.int16), y=np.arange(3)[:, None])
    assert read_table(tmp_path / "t.npz").values[:, 2].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 300], "expected labels from 0 to 9; got 300 at 2"),
        ([1, -5, 2], "expected labels from 0 to 9; got -5 at 1"),
        ([1, 2, 2**40], "expected labels from 0 to 9; got 1099511627776 at 2"),
        ([1.0, np.nan, 2], "expected whole numbers in labels, got float64"),
        ([1, 2], "expected images and a label for each; got 3 and 2"),
    ],
)
def test_classes_of_pictures_are_not_wrapped(tmp_path, labels, message):
    images = np.zeros((3, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "train.npz", images=images, labels=np.array([0, 1, 9]))
    np.savez(tmp_path / "test.npz", images=images, labels=np.array(labels))
    with pytest.raises(DataError, match=rf"test\.npz: {message}"):
        cifar10_subset(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drawer": np.where(np.arange(12) == 3, np.nan, 1)}, "whole numbers in drawer, got float"),
        ({"drawer": np.arange(12) % 4}, "expected more than 4 people in drawer, .* got 4"),
        ({"char_id": np.full(12, 2**31)}, "expected char_id from 0 to 2147483647; got 2147483648"),
        ({"char_id": -np.arange(12)}, "got -1 at 1"),
        ({"img28": np.zeros((12, 28, 28), "S3")}, "holds|expected bytes"),
    ],
)
def test_characters_and_their_drawers(tmp_path, changes, message):
    arrays = {
        "img28": np.zeros((12, 28, 28), np.uint8), "char_id": np.arange(12),
        "drawer": np.arange(12) % 6,
    }  # fmt: skip
    np.savez(tmp_path / "omniglot_small.npz", **(arrays | changes))
    with pytest.raises(DataError, match=message):
        omniglot(tmp_path)


def test_scores_of_probes(tmp_path):
    arrays = {"seq": np.zeros((2, 36), np.int8), "intensity": np.array([1, 2.0])}
    for changes, message in (
        ({"intensity": np.array([1, np.nan])}, "expected finite scores, got nan at 1"),
        ({"seq": np.full((2, 36), -1, np.int8)}, "of 0 to 3 for A, C, G and T"),
        ({"seq": np.zeros((2, 36))}, "expected whole numbers in seq, got float64"),
    ):
        np.savez(tmp_path / "Etv4.npz", **(arrays | changes))
        with pytest.raises(DataError, match=message):
            uniprobe("Etv4", folder=tmp_path)


def test_one_bit_or_one_piece_of_an_archive(tmp_path):
    """Bits flipped, ends cut, pieces zeroed: refused, or the same to the bit."""
    path = tmp_path / "t.npz"
    np.savez_compressed(path, x=X, y=np.arange(3))
    whole, good = path.read_bytes(), read_table(path).values
    generator = np.random.default_rng(0)
    refused = []
    for trial in range(300):
        content, place = bytearray(whole), int(generator.integers(len(whole)))
        if trial % 3 == 0:
            content[place] ^= 1 << int(generator.integers(8))
        elif trial % 3 == 1:
            del content[place:]
        else:
            content[place : place + 9] = bytes(9)[: len(whole) - place]
        path.write_bytes(content)
        try:
            found = read_table(path).values
        except DataError as error:
            refused.append(str(error))
        else:
            np.testing.assert_array_equal(found, good)
    assert len(refused) > 200
    assert all(str(path) in told and len(told) < 1000 for told in refused)


def test_no_other_place_unpacks_arrays():
    root = Path(pullback.__file__).parent
    unpack = re.compile(r"\bnp\.(load|fromfile|memmap)\(|\blib\.format\b|allow_pickle")
    found = [
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if unpack.search(file.read_text(encoding="utf-8"))
    ]
    assert not found
