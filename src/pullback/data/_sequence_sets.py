"""DNA of the data folder: what proteins bind, and where genes are spliced."""

import os
import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pullback._names import did_you_mean
from pullback.data._arrays import read_arrays
from pullback.data._csv import csv_rows
from pullback.data._errors import DataError
from pullback.data._letters import check_choice, foreign, reverse_complement
from pullback.data._npy import NUMBERS, WHOLE
from pullback.data._places import JASPAR, UNIPROBE, locate
from pullback.data._read_motifs import read_motifs
from pullback.data._sequences import Motif, Sequences

_WITH_KMERS = ("Cebpa", "Cebpb", "Gata4")
_WIDTH = 8
# As the file has it: the identifier, and once more with the protein.
_TWICE = re.compile(r"(MA\d+\.\d+)_\1\.(.+)")


class BindingArray(NamedTuple):
    """Which of some forty thousand pieces of DNA a protein binds, as a microarray measured it.

    Attributes:
        probes: 36 letters each, the part that differs, with the normalised signal as scores.
        kmers: all words of 8 letters, one of each pair of strands, with E-scores as scores: from
            -0.5 to 0.5, and above 0.45 what is surely bound; None where they were not published.
    """

    probes: Sequences
    kmers: Sequences | None

    def e_score(self, strings: tuple[str, ...] | list[str]) -> Float[np.ndarray, " n"]:
        """The greatest measured E-score of any word of 8 letters in each string, on either strand.

        Raises:
            ValueError: no words were measured, a string is too short, or has a letter that is none
                of ACGT.
        """
        if self.kmers is None or self.kmers.scores is None:
            known = ", ".join(_WITH_KMERS)
            raise ValueError(f"words of 8 letters are published of {known} alone.")
        table = np.full(4**_WIDTH, np.nan)
        for words in (self.kmers.letters, reverse_complement(self.kmers.letters)):
            table[_places(words)[:, 0]] = self.kmers.scores
        return np.array([np.nanmax(table[_places([string])[0]]) for string in strings])


class SpliceJunctions(NamedTuple):
    """Pieces of primate genes of 60 letters, around a place where an intron may begin or end.

    Attributes:
        sequences: the place is in the middle, between letters 30 and 31.
        kinds: "EI", where an exon ends and an intron begins, a donor; "IE", an acceptor; or "N",
            neither.
    """

    sequences: Sequences
    kinds: tuple[str, ...]


def uniprobe(name: str, *, folder: str | os.PathLike[str] | None = None) -> BindingArray:
    """What a transcription factor binds, by a universal protein-binding microarray.

    Args:
        name: "Cebpa", "Cebpb", "Etv4", "Fli1" or "Gata4".
        folder: where `NAME.npz` lies, or the folder above `uniprobe_pbm`. None: the folder that the
            environment variable `PULLBACK_DATA` names, then the cache of this user.

    Returns:
        Its probes, and of Cebpa, Cebpb and Gata4 all words of 8 letters.

    Raises:
        ValueError: there is no factor of this name.
        DataError: the file is missing or damaged.

    Example:
        >>> array = uniprobe("Cebpa", folder="data")  # doctest: +SKIP
        >>> array.e_score(["TTTTTTGCGCAATTTT"])  # doctest: +SKIP
        array([0.49])

    Source: Newburger and Bulyk, UniPROBE, Nucleic Acids Research 37 (2009); Badis et al., Science
        324 (2009).
    """
    check_choice("name", name, UNIPROBE)
    (path,) = locate(f"uniprobe-{name}", folder)
    scores = (NUMBERS, (None,))
    wanted = {"seq": (WHOLE, (None, 36)), "intensity": scores}
    if name in _WITH_KMERS:
        wanted |= {"kmer": (WHOLE, (None, _WIDTH)), "kmer_escore": scores}
    arrays = read_arrays(path, wanted)
    probes = _sequences(arrays["seq"], arrays["intensity"], f"{name}, UniPROBE", path)
    kmers = None
    if name in _WITH_KMERS:
        words = f"{name}, UniPROBE, words of 8 letters"
        kmers = _sequences(arrays["kmer"], arrays["kmer_escore"], words, path)
    return BindingArray(probes, kmers)


def jaspar(
    name: str | None = None,
    *,
    taxa: str = "vertebrates",
    folder: str | os.PathLike[str] | None = None,
) -> tuple[Motif, ...]:
    """JASPAR's core motifs of 2022: what proteins bind, as counts of letters.

    Args:
        name: of a protein, or a motif's identifier, such as "Arnt" or "MA0004.1"; capital letters
            or small. None: all.
        taxa: "vertebrates", 838 motifs, or "all", 1,997.
        folder: where the file lies, or the folder above `jaspar`. None: the folder that the
            environment variable `PULLBACK_DATA` names, then the cache of this user.

    Returns:
        The motifs; of one protein there may be several.

    Raises:
        ValueError: there is no motif of this name, or no such file.
        TypeError: `name` is no string.
        DataError: the file is missing or damaged.

    Example:
        >>> [motif.identifier for motif in jaspar("Arnt", folder="data")]  # doctest: +SKIP
        ['MA0004.1']

    Source: Castro-Mondragon et al., JASPAR 2022, Nucleic Acids Research 50.
    """
    check_choice("taxa", taxa, tuple(JASPAR))
    if not (name is None or isinstance(name, str)):
        raise TypeError(f"`name` must be a string, such as 'Arnt', or None; got {name!r}.")
    (path,) = locate(f"jaspar-{taxa}", folder)
    found = []
    for motif in read_motifs(path):
        match = _TWICE.fullmatch(motif.identifier)
        found.append(motif._replace(identifier=match[1], name=match[2]) if match else motif)
    if name is None:
        return tuple(found)
    chosen = [m for m in found if name.lower() in (m.name.lower(), m.identifier.lower())]
    if not chosen:
        hint = did_you_mean(name, [m.name for m in found]) or "."
        raise ValueError(f"`name`: there is no motif of {name!r} among those of {taxa}{hint}")
    return tuple(chosen)


def splice_junctions(
    *, ambiguous: str = "drop", folder: str | os.PathLike[str] | None = None
) -> SpliceJunctions:
    """UCI's splice junctions of primates: where an intron begins, where one ends, and neither.

    Args:
        ambiguous: of the few sequences with letters that stand for several, such as N: "drop", or
            "average", which keeps them for `one_hot(..., ambiguous="average")`.
        folder: where `splice.data.gz` lies, or the folder above `splice_junction`. None: the folder
            that the environment variable `PULLBACK_DATA` names, then the cache of this user.

    Raises:
        ValueError: `ambiguous` is neither.
        DataError: the file is missing or damaged; the message has the line.

    Example:
        >>> genes = splice_junctions(folder="data")  # doctest: +SKIP
        >>> genes.kinds.count("EI"), genes.sequences.letters[0][30:32]  # doctest: +SKIP
        (762, 'GT')

    Source: Towell, Noordewier and Shavlik, UCI Machine Learning Repository (1991).
    """
    check_choice("ambiguous", ambiguous, ("drop", "average"))
    (path,) = locate("splice-junctions", folder)
    kept, left_out = [], {}
    for line, cells in csv_rows(path):
        kind, name, letters = [*map(str.strip, cells), "", "", ""][:3]
        if len(cells) != 3 or kind not in ("EI", "IE", "N") or len(letters) != 60:
            raise DataError(path, "expected EI, IE or N, a name, 60 letters.", line=line)
        if wrong := foreign(letters, "ACGT", ambiguous=True):
            raise DataError(path, wrong, line=line)
        mixed = foreign(letters, "ACGT", ambiguous=False)
        if mixed and ambiguous == "drop":
            left_out[line] = mixed.partition(" It stands")[0]
        else:
            kept.append((name, letters, line, kind))
    if not kept:
        raise DataError(path, "expected sequences; there is none.")
    names, letters, lines, kinds = zip(*kept, strict=True)
    return SpliceJunctions(Sequences(names, letters, None, str(path), lines, left_out), kinds)


def _sequences(
    codes: np.ndarray, scores: np.ndarray, source: str, path: os.PathLike[str]
) -> Sequences:
    if len(codes) != len(scores) or not len(codes) or codes.min() < 0 or codes.max() > 3:
        raise DataError(path, "expected as many scores as sequences, of 0 to 3 for A, C, G and T.")
    if not np.isfinite(scores).all():
        place = int(np.argmin(np.isfinite(scores)))
        raise DataError(path, f"expected finite scores, got {scores[place]} at {place}.")
    letters = tuple("".join(row) for row in np.array([*"ACGT"])[codes].tolist())
    names = tuple(map(str, range(1, len(letters) + 1)))
    return Sequences(names, letters, np.asarray(scores, np.float64), source)


def _places(strings: tuple[str, ...] | list[str]) -> np.ndarray:
    """Of strings of one length, the place of each word of theirs among all words."""
    short = [s for s in strings if len(s) < _WIDTH or foreign(s, "ACGT", ambiguous=False)]
    if short:
        raise ValueError(f"strings must be of ACGT, with at least 8 letters; got {short[0]!r}.")
    codes = np.frombuffer("".join(strings).encode(), np.uint8).reshape(len(strings), -1)
    digits = np.searchsorted(np.frombuffer(b"ACGT", np.uint8), codes)
    windows = np.lib.stride_tricks.sliding_window_view(digits, _WIDTH, axis=1)
    return windows @ (4 ** np.arange(_WIDTH - 1, -1, -1))
