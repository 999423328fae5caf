"""Files as they come back from a bad disk, a broken download or a hand that slipped: by a seed."""

import gzip
import io
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

Mutation = Callable[[bytes, Random], bytes]

_NUMBERS = (
    "0", "-1", "1", "7", "255", "256", "65536", "2147483648", "4294967297", "9223372036854775808",
    "1000000000000", "99999999999999999999999999", "1e999", "1.5", "-0.0", "nan", "inf", "1e-320",
)  # fmt: skip
_CELLS = (
    "", " ", "NA", "nan", "?", "null", "inf", "1,5", "1.234,5", "1_000", "0x1f", "½", "٣", "é",
    "true", "2024-02-30", "20240131", "31.01.2024", "'", '"', '""', "\\", "$^$", "\t", "a b",
    "\u2028", "\x85", "\x1c", "x" * 130_000, "9" * 5000, "-" * 40, "<b>", "&amp;", "[0, 1]",
)  # fmt: skip


def mutated(name: str, content: bytes, random: Random) -> bytes:
    """Another content for the file of this name, as its kind would suffer it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, about what is being made
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            content = random.choice(_of_kind(name))(content, random)
    return content


def _of_kind(name: str) -> tuple[Mutation, ...]:
    """The mutations of a kind of file. Those of bytes are half of them."""
    kind = Path(name).suffix.lower()
    if kind == ".gz":
        return (_bytes, _in_gzip(name.removesuffix(".gz")), _in_gzip(name[:-3]), _other_gzip)
    if kind in (".npz", ".zip"):
        return (_bytes, _member, _member, _packing)
    if kind == ".parquet":
        return (_bytes, _bytes, _retyped)
    if kind in _BINARY:
        return (_bytes,)
    return (_bytes, _text)


_BINARY = (".npy", ".idx", ".safetensors", ".png")


# Of any bytes.


def _bytes(content: bytes, random: Random) -> bytes:
    return random.choice(_ANY)(content, random)


def _cut(content: bytes, random: Random) -> tuple[int, int]:
    """Two places, often near each other."""
    first = random.randint(0, len(content))
    far = random.choice((1, 4, 64, len(content)))
    return first, min(len(content), first + random.randint(0, far))


def _flip(content: bytes, random: Random) -> bytes:
    found = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 3))):
        if found:
            found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def _early(content: bytes, random: Random) -> bytes:
    """A byte among the first or the last, where headers and directories are."""
    found = bytearray(content)
    if found:
        place = random.randrange(min(len(found), 96))
        found[place if random.random() < 0.5 else -1 - place] = random.randrange(256)
    return bytes(found)


def _short(content: bytes, random: Random) -> bytes:
    return content[: random.randint(0, len(content))]


def _drop(content: bytes, random: Random) -> bytes:
    first, last = _cut(content, random)
    return content[:first] + content[last:]


def _repeat(content: bytes, random: Random) -> bytes:
    first, last = _cut(content, random)
    return content[:last] + content[first:last] * random.choice((1, 1, 20)) + content[last:]


def _swap(content: bytes, random: Random) -> bytes:
    (a, b), (c, d) = sorted((_cut(content, random), _cut(content, random)))
    c = max(b, c)
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[max(c, d) :]


def _zero(content: bytes, random: Random) -> bytes:
    first, last = _cut(content, random)
    return content[:first] + bytes(last - first) + content[last:]


def _noise(content: bytes, random: Random) -> bytes:
    first, last = _cut(content, random)
    return content[:first] + random.randbytes(random.randint(1, 16)) + content[last:]


def _splice(content: bytes, random: Random) -> bytes:
    """The beginning of the file, and an end of it that does not follow."""
    return content[: random.randint(0, len(content))] + content[random.randint(0, len(content)) :]


def _more(content: bytes, random: Random) -> bytes:
    return content + random.choice((b"\0", b"\n", b"x", content, bytes(600)))


def _number(content: bytes, random: Random) -> bytes:
    """A number that is written in digits, such as a size in a header, becomes another."""
    found = list(re.finditer(rb"\d+", content))
    if not found:
        return _flip(content, random)
    at = random.choice(found)
    return content[: at.start()] + random.choice(_NUMBERS).encode() + content[at.end() :]


def _word(content: bytes, random: Random) -> bytes:
    """Four or eight bytes become those of a size that is too large, too small, or none."""
    word = random.choice(("<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(word)
    if len(content) < size:
        return b""
    at = random.randrange(len(content) - size + 1)
    if random.random() < 0.5:
        at = min(at, random.randrange(64))
    value = random.choice((0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1))
    return content[:at] + struct.pack(word, value % 2 ** (8 * size)) + content[at + size :]


def _nothing(content: bytes, random: Random) -> bytes:
    return random.choice((b"", b"\n", b"\0", b"PK\x03\x04", b"\x1f\x8b", b"\xef\xbb\xbf"))


_ANY: tuple[Mutation, ...] = (
    _flip, _flip, _flip, _early, _early, _short, _short, _drop, _repeat, _swap, _zero, _noise,
    _splice, _more, _number, _number, _word, _nothing,
)  # fmt: skip


# Of text.


def _text(content: bytes, random: Random) -> bytes:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return _bytes(content, random)
    return random.choice(_TEXT)(text, random)


def _encoded(text: str, random: Random) -> bytes:
    if random.random() < 0.5:  # a letter that is not in ASCII, so that the encoding matters
        at = random.randint(0, len(text))
        text = text[:at] + random.choice("éß€漢") + text[at:]
    encoding = random.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1"))
    return text.encode(encoding, "replace")


def _ends(text: str, random: Random) -> bytes:
    return text.replace("\n", random.choice(("\r\n", "\r", "\n\n", "\n\r", "\x85", ""))).encode()


def _separated(text: str, random: Random) -> bytes:
    """Another character between the cells, everywhere or on one line."""
    old, new = random.choice(",\t; "), random.choice((",", ";", "\t", "|", " ", ""))
    if random.random() < 0.5:
        return text.replace(old, new).encode()
    lines = text.splitlines(keepends=True) or [""]
    at = random.randrange(len(lines))
    return "".join([*lines[:at], lines[at].replace(old, new), *lines[at + 1 :]]).encode()


def _lines(text: str, random: Random) -> bytes:
    """A line is lost, doubled, moved, cut, or one too many."""
    lines = text.splitlines(keepends=True) or [""]
    at, to = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(6):
        case 0:
            lines.pop(at)
        case 1:
            lines.insert(to, lines[at])
        case 2:
            lines[at], lines[to] = lines[to], lines[at]
        case 3:
            lines[at] = lines[at][: random.randint(0, len(lines[at]))]
        case 4:
            lines.insert(at, random.choice(("\n", ",\n", "sep=;\n", "#\n", " \n", '"\n', ">\n")))
        case 5:
            lines = [f"{line.rstrip()}{random.choice((',', ';', ' '))}\n" for line in lines]
    return "".join(lines).encode()


def _cell(text: str, random: Random) -> bytes:
    """A word or number becomes another, which may be none."""
    found = list(re.finditer(r"[^\s,;:<>=\"]+", text))
    if not found:
        return text.encode()
    at = random.choice(found)
    return (text[: at.start()] + random.choice(_CELLS + _NUMBERS) + text[at.end() :]).encode()


def _quoted(text: str, random: Random) -> bytes:
    at = random.randint(0, len(text))
    return (text[:at] + random.choice(('"', "'", '""', '"\n"', "\0", "\\")) + text[at:]).encode()


_TEXT = (_encoded, _ends, _separated, _lines, _lines, _cell, _cell, _cell, _quoted)


# Of gzip.


def _in_gzip(name: str) -> Mutation:
    def mutation(content: bytes, random: Random) -> bytes:
        try:
            inside = gzip.decompress(content)
        except Exception:  # it is none any more
            return _bytes(content, random)
        return gzip.compress(random.choice(_of_kind(name))(inside, random), mtime=0)

    return mutation


def _other_gzip(content: bytes, random: Random) -> bytes:
    """Streams that are no gzip, or more than one."""
    match random.randrange(5):
        case 0:
            return gzip.compress(content, mtime=0)
        case 1:
            return content + content
        case 2:
            return content + b"rubbish"
        case 3:
            return content[:-8] + random.randbytes(4) + content[-4:]
    return content[:-4] + struct.pack("<I", random.choice((0, 2**31, 2**32 - 1)))


# Of zip, and of the arrays in it.


class Trap:
    """An object that ends the program when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('a file was able to run code')",)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file, the same at any time."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, inside in members.items():
            archive.writestr(zipfile.ZipInfo(name), inside, compression)
    return stream.getvalue()


def as_npy(array: np.ndarray) -> bytes:
    """The bytes of an npy file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=array.dtype == object)
    return stream.getvalue()


def _member(content: bytes, random: Random) -> bytes:
    """One member of a zip file becomes another; its checksum is right."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = random.choice(list(members))
    except Exception:  # it is none any more
        return _bytes(content, random)
    if not name.endswith(".npy"):
        members[name] = random.choice(_of_kind(name))(members[name], random)
        return zipped(members)
    match random.randrange(8):
        case 0:
            members[random.choice(("y.npy", name[:-4], f"../{name}"))] = members.pop(name)
        case 1:
            members.pop(name)
        case 2:
            members[name] = members[random.choice(list(members))]
        case 3:
            members[name] = _number(members[name][:128], random) + members[name][128:]
        case 4:
            members[name] = _bytes(members[name], random)
        case _:
            members[name] = _array(members[name], random)
    return zipped(members, random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def _array(content: bytes, random: Random) -> bytes:
    """The array of an npy file, with other values, or of another type or shape."""
    try:
        array = np.load(io.BytesIO(content))
    except Exception:
        return _bytes(content, random)
    match random.randrange(3):
        case 0:
            return as_npy(_values(array, random))
        case 1:
            return as_npy(_type(array, random))
    if not array.ndim:
        return as_npy(array[None])
    twice, none = np.concatenate([array, array]), np.zeros((), array.dtype)
    views = (array[..., None], array.ravel(), array.T, array[:0], array[:-1], array[::-1])
    return as_npy(random.choice((*views, twice, none)))


def _values(array: np.ndarray, random: Random) -> np.ndarray:
    """Some values become numbers that do not belong there, in a type that holds them."""
    if array.dtype.kind in "iub" and random.random() < 0.5:
        array = array.astype(random.choice((np.int64, np.float64)))
    found = array.copy()
    flat = found.reshape(-1)
    wild = (300, -5, 2**31, 2**40, -1, 0.5, np.nan, np.inf, 1e39, -50)
    for _ in range(random.choice((1, 1, 5))):
        value = random.choice(wild)
        if flat.size:
            try:
                flat[random.randrange(flat.size)] = value
            except (OverflowError, ValueError):
                flat[random.randrange(flat.size)] = 1
    return found


def _type(array: np.ndarray, random: Random) -> np.ndarray:
    kinds = ("f8", "f4", "f2", "i8", "u1", "i1", ">i4", "?", "c16", "U8", "S3", "M8[s]", "O", "V")
    kind = random.choice(kinds)
    if kind == "O":
        return np.array([Trap()] * len(array) if array.ndim else Trap(), object)
    if kind == "V":
        return np.zeros(array.shape, [("a", "i4"), ("b", "f8")])
    try:
        return array.astype(kind)
    except (TypeError, ValueError):
        return np.zeros(array.shape, kind)


def _packing(content: bytes, random: Random) -> bytes:
    """What a zip file says of a member: encrypted, packed in another way, of another size."""
    places = [at.start() for at in re.finditer(rb"PK\x01\x02|PK\x03\x04", content)]
    if not places:
        return _bytes(content, random)
    at = random.choice(places)
    central = content[at + 2] == 1
    field, size, values = random.choice((
        (6, 2, (1, 9, 64, 0xFFFF)),  # flags
        (8, 2, (0, 1, 8, 9, 12, 14, 93, 99)),  # the way of packing
        (14, 4, (0, 1, 2**32 - 1)),  # the checksum
        (18, 4, (0, 1, 2**31, 2**32 - 1)),  # the sizes
        (22, 4, (0, 1, 2**31, 2**32 - 1)),
        (26, 2, (0, 1, 0xFFFF)),  # of the name
    ))  # fmt: skip
    at += field + 2 * central
    return content[:at] + random.choice(values).to_bytes(size, "little") + content[at + size :]


# Of Parquet.


def _retyped(content: bytes, random: Random) -> bytes:
    """A table of Parquet with one column of another type, or with other values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(content))
        at = random.randrange(table.num_columns)
    except Exception:
        return _bytes(content, random)
    rows = table.num_rows
    column = random.choice((
        pa.array([[1, 2]] * rows), pa.array([{"a": 1}] * rows), pa.array([b"x\xff"] * rows),
        pa.nulls(rows), pa.array([True] * rows), pa.array(["é"] * rows).dictionary_encode(),
        pa.array([float("nan")] * rows), pa.array([float("inf")] * rows),
        pa.array([2**62] * rows), pa.array([10**12] * rows, pa.timestamp("ns", "UTC")),
        pa.array([2**40] * rows, pa.timestamp("s")), pa.array([10**6] * rows, pa.date32()),
        pa.array([1] * rows, pa.duration("s")), pa.array([1] * rows, pa.time32("s")),
        pa.array(["1,5"] * rows), pa.array([""] * rows), pa.array(["x" * 130_000] * rows),
    ))  # fmt: skip
    names = list(table.column_names)
    match random.randrange(5):
        case 0:
            names[at] = random.choice(("", names[0], "__index_level_0__", "é", "a\0b", "1"))
            table = pa.table(list(table.columns), names=names)
        case 1:
            table = table.slice(0, random.randrange(rows + 1))
        case _:
            table = table.set_column(at, names[at], column)
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()
