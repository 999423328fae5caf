"""Small whole files of text and of tables, one case for each reader and kind of file."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mutations import zipped
from outcomes import Case

from pullback import data
from pullback.bilevel import Schedule
from pullback.data import DataError

_TABLE = "height,weight,age\n1.71,68,30\n1.64,,41\n1.8,75,29\n1.55,51.5,64\n"
_MIXED = 'name,weight,smokes\nann,68,yes\nbob,,no\n"cy, jr",75,NA\ndee,51.5,yes\n'
_LONG = (
    "patient,time [h],parameter,value\nA,0,Temp [degC],36.6\nA,0,HR [1/min],70\n"
    "A,1.5,Temp [degC],36.9\nB,0.25,HR [1/min],81\n"
)
_DATES = (
    "id,time,variable,value\nA,2024-01-31T10:00,x,1\nA,2024-02-01T10:00,x,2.5\nB,2024-01-31,y,3\n"
)
_RATINGS = "user,item,rating,time\nann,Alien,5,1\nbob,Alien,2,2\nann,Brazil,4,3\n"
_FASTA = ">one score=1.5 of a gene\nGATTACAGATTACA\nGATT\n>two score=-2\nACGTNACGT\n"
_PROBES = "sequence,signal,name\nGATTACA,1.5,one\nACGTACG,0.5,two\nTTTTACG,,three\n"
_JASPAR = (
    ">MA0004.1\tArnt\nA  [ 4 19  0 ]\nC  [16  0 20 ]\nG  [ 0  1  0 ]\nT  [ 0  0  0 ]\n"
    ">MA0001.3 AGL3 of a plant\nA [ 0 3 ]\nT [ 1 0 ]\nG [ 9 0 ]\nC [90 97.5 ]\n"
)
_MEME = """MEME version 4

ALPHABET= ACGT

MOTIF crp alternative
letter-probability matrix: alength= 4 w= 2 nsites= 100 E= 4.1e-009
 0.00 1.00 0.00 0.00
 0.25 0.25 0.30 0.20

MOTIF lexA
letter-probability matrix: alength= 4 w= 1 nsites= 100 E= 0
 0.50 0.50 0.00 0.00
"""
_SMILES = "OCC ethanol\nC1=CC=CC=C1\tbenzene\nC[C@H](N)C(O)=O alanine L\n"
_MOLECULES = "name,smiles,logS\nethanol,OCC,1.5\nbenzene,C1=CC=CC=C1,\nalanine,CC(N)C(O)=O,-2\n"
_SDF = """methanol
     RDKit          2D

  2  1  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0  0  0  0  0  0  0  0  0  0  0
    1.2990    0.7500    0.0000 O   0  0  0  0  0  0  0  0  0  0  0  0
  1  2  1  0
M  END
>  <logS>
1.5

$$$$
"""
_GRAPHML = """<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="d0" for="graph" attr.name="label" attr.type="string"/>
  <graph id="friends" edgedefault="undirected">
    <data key="d0">people</data>
    <node id="ann"/><node id="bob"/><node id="cy"/>
    <edge source="ann" target="bob"/><edge source="bob" target="cy"/>
  </graph>
</graphml>
"""
_EDGES = "# friends\nann bob 3\nbob cy 1\ndee\n"
_EDGE_TABLE = "source,target,weight\nann,bob,3\nbob,cy,1\n"
_TU = {
    "S_A.txt": b"1, 2\n2, 1\n3, 4\n4, 3\n",
    "S_graph_indicator.txt": b"1\n1\n2\n2\n",
    "S_graph_labels.txt": b"1\n2\n",
}
_SPLICE = "".join(
    f"{kind},      HUM-{number},   {letters * 15}\n"
    for number, (kind, letters) in enumerate([("EI", "GATT"), ("IE", "ACGT"), ("N", "TTTG")])
)
_ZINC = "smiles,logP,qed,SAS,split\nOCC,1.5,0.4,2,train\nCC,0.5,0.3,1,test\nCCN,1,0.5,3,valid\n"
_ESOL = "smiles,measured log solubility in mols per litre\nOCC,1.1\nc1ccccc1,-1.6\n"
_SCHEDULE_JSON = """{
"format": "pullback schedule",
"steps": [0, 10],
"hyper": {"rate": [1.5, 2]}
}
"""
_SCHEDULE_CSV = "step,rate,decay[0],decay[1]\n0,0.5,1,2\n10,0.25,3,4\n"


def parquet(text: str) -> bytes:
    """A table of CSV as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    stream = io.BytesIO()
    table: pa.Table = csv.read_csv(io.BytesIO(text.encode()))
    pq.write_table(table, stream)
    return stream.getvalue()


def _case(
    called: str, name: str, content: str | bytes, load: Callable, errors: Any = DataError
) -> Case:
    content = content.encode() if isinstance(content, str) else content
    content = gzip.compress(content, mtime=0) if name.endswith(".gz") else content
    return Case(called, {name: content}, lambda folder: load(folder / name), (errors,))


def _chunks(path: Path) -> list:
    return list(data.mixed_chunks(path, ["weight"], optional=["smokes"]))


def _molecules(path: Path) -> Any:
    return data.read_molecules(path, optional=["logS"], skip_invalid=True)


def _drop(path: Path) -> Any:
    return data.read_sequences(path, ambiguous="drop")


CASES = (
    _case("read_table, csv", "a.csv", _TABLE, data.read_table),
    _case("read_table, csv.gz", "a.csv.gz", _TABLE, data.read_table),
    _case("read_table, Parquet", "a.parquet", parquet(_TABLE), data.read_table),
    _case("read_mixed, csv", "a.csv", _MIXED, data.read_mixed),
    _case("read_mixed, Parquet", "a.parquet", parquet(_MIXED), data.read_mixed),
    _case("mixed_chunks, csv", "a.csv", _MIXED, _chunks),
    _case("read_long, csv", "a.csv", _LONG, data.read_long),
    _case("read_long, dates", "a.csv", _DATES, data.read_long),
    _case("read_long, Parquet", "a.parquet", parquet(_LONG), data.read_long),
    _case("read_ratings, csv", "a.csv", _RATINGS, data.read_ratings),
    _case("read_ratings, u.data", "u.data", "1\t7\t5\t88\n2\t7\t3\t89\n", data.read_ratings),
    _case("read_ratings, ::", "ratings.dat", "1::7::5::88\n2::7::3::89\n", data.read_ratings),
    _case("read_ratings, Parquet", "a.parquet", parquet(_RATINGS), data.read_ratings),
    _case("read_sequences, FASTA", "a.fasta", _FASTA, _drop),
    _case("read_sequences, csv", "a.csv", _PROBES, data.read_sequences),
    _case("read_motifs, JASPAR", "a.jaspar", _JASPAR, data.read_motifs),
    _case("read_motifs, MEME", "a.meme", _MEME, data.read_motifs),
    _case("read_molecules, SMILES", "a.smi", _SMILES, _molecules),
    _case("read_molecules, csv", "a.csv", _MOLECULES, _molecules),
    _case("read_molecules, SDF", "a.sdf", _SDF, _molecules),
    _case("read_graphs, GraphML", "a.graphml", _GRAPHML, data.read_graphs),
    _case("read_graphs, edges", "a.edgelist.gz", _EDGES, data.read_graphs),
    _case("read_graphs, csv", "a.csv", _EDGE_TABLE, data.read_graphs),
    _case(
        "read_graphs, zip",
        "a.zip",
        zipped({"a.edgelist": _EDGES.encode(), "b.graphml": _GRAPHML.encode()}),
        data.read_graphs,
    ),
    Case("read_graphs, TU text", _TU, data.read_graphs, (DataError,)),
    Case(
        "jaspar",
        {"JASPAR2022_vertebrates.pfm.gz": gzip.compress(_JASPAR.encode(), mtime=0)},
        lambda folder: data.jaspar(folder=folder),
        (DataError,),
    ),
    Case(
        "splice_junctions",
        {"splice.data.gz": gzip.compress(_SPLICE.encode(), mtime=0)},
        lambda folder: data.splice_junctions(folder=folder),
        (DataError,),
    ),
    Case(
        "zinc",
        {"zinc34k.csv.gz": gzip.compress(_ZINC.encode(), mtime=0)},
        lambda folder: data.zinc(folder=folder),
        (DataError,),
    ),
    Case(
        "molnet",
        {"esol.csv.gz": gzip.compress(_ESOL.encode(), mtime=0)},
        lambda folder: data.molnet("esol", folder=folder),
        (DataError,),
    ),
    _case("Schedule.load, json", "a.json", _SCHEDULE_JSON, Schedule.load, ValueError),
    _case("Schedule.load, csv", "a.csv", _SCHEDULE_CSV, Schedule.load, ValueError),
)
