"""Pictures of folders, files and arrays."""

import struct
import zlib

import numpy as np
import pytest
from matplotlib.image import imsave

from pullback.data import DataError
from pullback.tasks._pictures import read_pictures

RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (5, 7, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "seen").mkdir()
    for name in ("b", "a"):
        imsave(tmp_path / "seen" / f"{name}.png", COLOURS if name == "a" else 255 - COLOURS)
    (tmp_path / "seen" / "notes.txt").write_text("no picture")
    return tmp_path / "seen"


def test_a_folder_of_pictures_is_read_in_order_and_between_0_and_1(folder):
    found = read_pictures(folder)
    assert (found.names, found.source, found.is_file) == (("a.png", "b.png"), "seen", True)
    np.testing.assert_allclose(found.x[0], np.moveaxis(COLOURS, -1, 0) / 255, atol=1e-6)
    np.testing.assert_allclose(found.x.sum(axis=0), np.ones((3, 5, 7)), atol=1e-6)
    one = read_pictures(str(folder / "b.png"))
    np.testing.assert_array_equal(one.x, found.x[1:])
    assert one.names == ("b.png",)
    assert found.take([1]).names == one.names
    assert found.take([1]).digest == one.digest != found.digest


def test_a_picture_of_whole_numbers_is_brought_between_0_and_1(tmp_path):
    imsave(tmp_path / "white.jpg", np.full((8, 8, 3), 255, np.uint8))
    np.testing.assert_allclose(read_pictures(tmp_path / "white.jpg").x, 1, atol=1e-6)


def test_pictures_of_several_sizes_name_the_file_and_the_remedy(folder):
    imsave(folder / "c.png", COLOURS[:, :4])
    told = r"c.png: it is 5 pixels high and 4 wide, and a.png 5 and 7; .*resize\(\(7, 5\)\)"
    with pytest.raises(DataError, match=told):
        read_pictures(folder)


def test_a_grey_picture_among_colours_is_said(folder):
    from PIL import Image

    Image.fromarray(COLOURS[..., 0], "L").save(folder / "c.png")
    found = read_pictures(folder)
    assert found.x.shape == (3, 3, 5, 7)
    np.testing.assert_array_equal(found.x[2, 0], found.x[2, 2])
    assert "1 of 3 pictures are grey, such as c.png" in found.notes[0]
    assert read_pictures(folder / "c.png").x.shape == (1, 1, 5, 7)


def write_huge(file, width, height):
    """A PNG of few bytes that says it has so many pixels."""
    chunks = b""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(b""))):
        sums = zlib.crc32(kind + content)
        chunks += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sums)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def test_pictures_that_cannot_be_read_are_refused(folder, tmp_path):
    clear = np.concatenate([COLOURS, np.full((5, 7, 1), 9, np.uint8)], axis=2)
    imsave(tmp_path / "clear.png", clear)
    (tmp_path / "bad.png").write_text("no picture")
    write_huge(tmp_path / "huge.png", 6_000, 6_000)
    write_huge(tmp_path / "endless.png", 2**31 - 1, 2**31 - 1)
    (tmp_path / "empty").mkdir()
    for path, told in (
        (tmp_path / "clear.png", "it is transparent in places"),
        (tmp_path / "bad.png", "bad.png: this picture cannot be read"),
        (tmp_path / "huge.png", "it says that it has 36 million pixels; make it smaller"),
        (tmp_path / "endless.png", "million pixels; make it smaller"),
        (tmp_path / "empty", "no .png or .jpg file lies in this folder"),
        (tmp_path / "no.png", "there is no such file or folder"),
        (folder / "notes.txt", "this is no picture; give a folder"),
    ):
        with pytest.raises(DataError, match=told):
            read_pictures(path)


@pytest.mark.parametrize("shape", [(4, 6, 5), (4, 1, 6, 5), (4, 6, 5, 1), (4, 3, 6, 5)])
def test_arrays_of_all_orders_of_axes_are_taken(shape, tmp_path):
    x = RANDOM.normal(size=shape)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", images=x, labels=np.arange(4))
    channels = 3 if shape[1] == 3 else 1
    for found in map(read_pictures, (x, tmp_path / "x.npy", tmp_path / "x.npz")):
        assert found.x.shape == (4, channels, 6, 5)
        np.testing.assert_array_equal(found.x.ravel(), x.ravel())
        assert found.names == ("0", "1", "2", "3")
        assert len(found.notes) == (shape[-1] == 1)


def test_arrays_that_are_no_pictures_are_refused(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    np.save(tmp_path / "objects.npy", np.array([{}, {}], object))
    np.save(tmp_path / "rows.npy", np.zeros((5, 64)))
    for given, told in (
        (np.zeros((5, 64)), r"\(5, 64\).*x.reshape\(-1, height, width\)"),
        (np.full((2, 3, 3), np.nan), "picture 0 has pixels that are no number"),
        (np.array([[["a"]]]), "they must be numbers"),
        (np.zeros((0, 3, 3)), "got"),
        (tmp_path / "two.npz", "which array is meant. It has a, b; call it images"),
        (tmp_path / "objects.npy", "objects.npy: the array holds Python objects"),
        (tmp_path / "rows.npy", r"rows.npy: the array must be \(n, height, width\)"),
    ):
        with pytest.raises(ValueError, match=told):
            read_pictures(given)
