"""Small whole files of arrays, one case for each loader of them."""

import gzip
import io
from typing import Any

import numpy as np
from mutations import as_npy, zipped
from outcomes import Case

from pullback import data
from pullback.data import DataError
from pullback.tasks._pictures import read_pictures


def npz(**arrays: Any) -> bytes:
    return zipped({f"{name}.npy": as_npy(np.asarray(array)) for name, array in arrays.items()})


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def _gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


_DRAWS = np.random.default_rng(0)


def _mnist() -> dict[str, bytes]:
    found = {}
    for part, count in (("train", 3), ("t10k", 2)):
        images = idx(_DRAWS.integers(0, 256, (count, 28, 28)))
        found[f"{part}-images-idx3-ubyte.gz"] = _gz(images)
        found[f"{part}-labels-idx1-ubyte.gz"] = _gz(idx(np.arange(count)))
    return found


def _classes(most: int) -> Any:
    """Whether the parts of a split have classes from 0 to `most`, and pixels from 0 to 1."""

    def wrong(split: Any) -> str:
        for part in split:
            if len(part.x) != len(part.y):
                return "it has not a class for each image"
            if part.y.size and not (0 <= part.y.min() and part.y.max() <= most):
                return f"it has classes from {part.y.min()} to {part.y.max()}"
            if part.x.size and not (0 <= part.x.min() and part.x.max() <= 1):
                return "it has pixels outside of 0 to 1"
        return ""

    return wrong


def _dsprites() -> bytes:
    images = _DRAWS.integers(0, 2, (6, 64, 64)).astype(np.uint8)
    return npz(
        imgs=images, latents_classes=np.array([[0, k % 3, k % 2, 0, k, 1] for k in range(6)])
    )


def _factors(found: Any) -> str:
    if found.factors.size and (found.factors.min() < 0 or found.factors.max() > 1000):
        return f"it has factors from {found.factors.min()} to {found.factors.max()}"
    return ""


def _omniglot() -> bytes:
    images = _DRAWS.integers(0, 2, (12, 28, 28)).astype(np.uint8) * 255
    return npz(img28=images, char_id=np.arange(12) // 6, drawer=np.arange(12) % 6)


def _mocap() -> bytes:
    sizes = {"Xtr": 16, "Xval": 3, "Xtest": 4}
    rows = _DRAWS.normal(size=(1, 1, 50)).astype(np.float32)
    return npz(**{name: np.tile(rows, (n, 300, 1)) for name, n in sizes.items()})


def _stays(first: int) -> bytes:
    return npz(
        record_id=[first, first + 1],
        ptr=[0, 2, 4],
        time_min=[0, 67, 5, 2879],
        param=[1, 2, 1, 0],
        value=np.array([70.0, 36.6, 81.0, -1.0], np.float32),
        param_names=["Age", "HR", "Temp"],
        outcomes=[[first, 12, 0], [first + 1, 9, 1]],
        outcome_names=["RecordID", "SAPS-I", "In-hospital_death"],
    )


def _stay_texts() -> dict[str, bytes]:
    found = {}
    for letter, first in (("a", 1), ("b", 5)):
        rows = f"RecordID,SAPS-I,In-hospital_death\n{first},12,0\n{first + 1},9,1\n"
        found[f"Outcomes-{letter}.txt"] = rows.encode()
        for record in (first, first + 1):
            text = f"Time,Parameter,Value\n00:00,RecordID,{record}\n00:07,HR,70\n47:59,Temp,36.6\n"
            found[f"set-{letter}/{record}.txt"] = text.encode()
    return found


def _times(stays: Any) -> str:
    """Whether the stays' times are those of 48 hours."""
    times = stays.times[np.arange(stays.times.shape[1]) < stays.counts[:, None]]
    if times.size and not (times.min() >= 0 and times.max() <= 48):
        return f"it has times from {times.min()} to {times.max()} h"
    return ""


def _uci() -> bytes:
    rows = np.arange(10)
    train, test = np.stack([rows[:9], rows[1:]]), np.array([[9], [0]])
    x = _DRAWS.normal(size=(10, 2))
    return npz(x=x, y=x.sum(1), train_idx=train, test_idx=test)


def _tu() -> dict[str, Any]:
    pairs = np.array([[1, 2], [2, 1], [2, 3], [3, 2], [4, 5], [5, 4]])
    return {"A": pairs, "graph_indicator": [1, 1, 1, 2, 2], "graph_labels": [1, 2]}


def _probes() -> bytes:
    probes, words = _DRAWS.integers(0, 4, (5, 36)), _DRAWS.integers(0, 4, (6, 8))
    codes = {"seq": probes.astype(np.int8), "kmer": words.astype(np.int8)}
    return npz(**codes, intensity=_DRAWS.uniform(size=5), kmer_escore=np.linspace(-0.4, 0.4, 6))


def _png() -> bytes:
    from matplotlib.image import imsave

    stream = io.BytesIO()
    imsave(stream, _DRAWS.uniform(size=(6, 5, 3)), format="png")
    return stream.getvalue()


_IDX = idx(np.arange(24).reshape(2, 3, 4))
_PICTURES = _DRAWS.uniform(size=(3, 4, 5)).astype(np.float32)


def _case(name: str, files: dict[str, bytes], load: Any, wrong: Any = lambda value: "") -> Case:
    return Case(name, files, load, (DataError,), wrong=wrong)


CASES = (
    _case("read_idx", {"a.idx": _IDX}, lambda at: data.read_idx(at / "a.idx")),
    _case("read_idx, gzipped", {"a.idx.gz": _gz(_IDX)}, lambda at: data.read_idx(at / "a.idx.gz")),
    _case("mnist", _mnist(), data.mnist, _classes(9)),
    _case("fashion_mnist", _mnist(), data.fashion_mnist, _classes(9)),
    _case(
        "cifar10_subset",
        {
            f"{part}.npz": npz(
                images=_DRAWS.integers(0, 256, (n, 32, 32, 3)).astype(np.uint8), labels=np.arange(n)
            )
            for part, n in (("train", 3), ("test", 2))
        },
        data.cifar10_subset,
        _classes(9),
    ),
    _case(
        "dsprites",
        {"dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz": _dsprites()},
        lambda at: data.dsprites(at, shrink=8),
        _factors,
    ),
    _case("omniglot", {"omniglot_small.npz": _omniglot()}, data.omniglot, _classes(10_000)),
    _case("mocap35", {"mocap35.npz": _mocap()}, data.mocap35),
    _case(
        "physionet2012",
        {"set_a.npz": _stays(1), "set_b.npz": _stays(5)},
        data.physionet2012,
        _times,
    ),
    _case("physionet2012, text", _stay_texts(), data.physionet2012, _times),
    _case(
        "uci_regression",
        {"yacht.npz": _uci()},
        lambda at: data.uci_regression("yacht", folder=at),
    ),
    _case(
        "tu_graphs", {"ENZYMES.npz": npz(**_tu())}, lambda at: data.tu_graphs("ENZYMES", folder=at)
    ),
    _case("uniprobe", {"Cebpa.npz": _probes()}, lambda at: data.uniprobe("Cebpa", folder=at)),
    _case(
        "read_table, npz",
        {"a.npz": npz(x=_DRAWS.normal(size=(4, 3)), y=np.arange(4.0))},
        lambda at: data.read_table(at / "a.npz"),
    ),
    _case("read_graphs, npz", {"a.npz": npz(**_tu())}, lambda at: data.read_graphs(at / "a.npz")),
    _case("pictures, npy", {"a.npy": as_npy(_PICTURES)}, lambda at: read_pictures(at / "a.npy")),
    _case(
        "pictures, npz", {"a.npz": npz(images=_PICTURES)}, lambda at: read_pictures(at / "a.npz")
    ),
    _case("pictures, png", {"a.png": _png()}, lambda at: read_pictures(at / "a.png")),
)
