"""Graphs from GraphML and to it."""

import html
import re
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from pullback._names import listed, shown
from pullback.data._errors import DataError
from pullback.data._graphs import Graph
from pullback.data._simple_graphs import Found, simple

_SPACE = "http://www.w3.org/XML/1998/namespace space"
_WEIGHTS = ("weight", "weights")
# As igraph numbers nodes, whose names are then an attribute.
_NUMBERED = re.compile(r"n\d+")
# What XML has no way to write.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_HEAD = """<?xml version='1.0' encoding='utf-8'?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="name" for="graph" attr.name="name" attr.type="string"/>
  <key id="label" for="graph" attr.name="label" attr.type="string"/>
  <graph edgedefault="undirected">
"""


def graphml_found(text: bytes, path: Path) -> list[Found]:
    """The graphs of a GraphML file, with the ids of their nodes as names.

    Where ids are n0, n1, ..., and each node has an attribute "name" of its own, names are those.
    """
    reader = _Reader(path)
    try:
        reader.parser.Parse(text, True)
    except LookupError as error:
        raise DataError(path, f"is in no known code: {error}; write it in UTF-8.") from error
    except expat.ExpatError as error:
        told = expat.ErrorString(error.code)
        raise DataError(path, f"not well-formed XML: {told}.", line=error.lineno) from error
    return reader.found


class _Reader:
    """What has been read so far: of the file its keys and its graphs, and of a graph its parts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self.doctype
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.characters
        self.keys: dict[str, str] = {}
        self.found: list[Found] = []
        self.inside: list[str] = []
        self.text: list[str] | None = None
        self.key, self.kept = "", False
        self.begin({})

    def begin(self, given: dict[str, str]) -> None:
        self.directed = given.get("edgedefault") == "directed"
        self.nodes: dict[str, int] = {}
        self.edges: list[tuple[str, str, int]] = []
        self.names: dict[str, None] = {}
        self.about = {"name": "", "label": ""}
        self.attributes: dict[str, None] = {}
        self.counts: dict[str, list[int]] = {"directions": [], "weights": []}

    def doctype(self, *_: Any) -> None:
        raise self.wrong(
            "declares a document type (DOCTYPE), which may name entities and other files, and is "
            "not read; take that declaration out."
        )

    def start(self, tag: str, given: dict[str, str]) -> None:
        if self.text is not None:  # of a drawing program's own, within what it says of a node
            self.inside.append("")
            return
        tag = tag.rpartition(" ")[2]
        if not self.inside and tag != "graphml":
            raise self.wrong(f"expected GraphML, got <{listed([tag])}>. {_OTHERS}")
        if tag == "key":
            identifier = self.wanted(tag, given, "id")
            self.keys[identifier] = given.get("attr.name", identifier)
        elif tag == "graph":
            if "graph" in self.inside:
                raise self.wrong("a graph within a graph has no place here; take it out.")
            self.begin(given)
        elif tag == "locator":
            raise self.wrong("a <locator> refers to another file, and is not read; take it out.")
        elif tag in ("node", "edge") and "graph" not in self.inside:
            raise self.wrong(f"a <{tag}> is outside of any <graph>; put it in one.")
        elif tag == "hyperedge":
            raise self.wrong("an edge of more than two nodes has no place here; take it out.")
        elif tag == "node":
            name = self.wanted(tag, given, "id")
            if name in self.nodes:
                raise self.wrong(f"there are two nodes {shown(name)}.")
            self.nodes[name] = len(self.nodes)
        elif tag == "edge":
            line = self.parser.CurrentLineNumber
            ends = (self.wanted(tag, given, "source"), self.wanted(tag, given, "target"))
            self.edges.append((*ends, line))
            direction = given.get("directed", "true" if self.directed else "false")
            if direction.strip().lower() in ("true", "1"):
                self.counts["directions"].append(line)
        elif tag == "data":
            self.key = self.wanted(tag, given, "key")
            self.text = []
            self.kept = given.get(_SPACE) == "preserve"
        self.inside.append(tag)

    def end(self, tag: str) -> None:
        tag = self.inside.pop()
        if tag == "data" and self.text is not None:
            name, text = self.keys.get(self.key, self.key), "".join(self.text)
            self.text = None
            of = self.inside[-1]
            if of == "graph" and name in self.about:
                self.about[name] = text if self.kept else text.strip()
            elif of == "node" and name == "name":
                self.names[text] = None
            elif of == "edge" and name.lower() in _WEIGHTS:
                self.counts["weights"].append(self.edges[-1][2])
            else:
                self.attributes[name] = None
        elif tag == "graph":
            self.finish()

    def characters(self, text: str) -> None:
        if self.text is not None:
            self.text.append(text)

    def finish(self) -> None:
        pairs = np.empty((len(self.edges), 2), np.int64)
        for place, (a, b, line) in enumerate(self.edges):
            for column, name in enumerate((a, b)):
                if name not in self.nodes:
                    raise DataError(self.path, f"there is no node {shown(name)}.", line=line)
                pairs[place, column] = self.nodes[name]
        names = tuple(self.nodes)
        if len(self.names) == len(names) and all(map(_NUMBERED.fullmatch, names)):
            names = tuple(self.names)
        elif self.names:
            self.attributes["name"] = None
        graph, lost = simple(
            len(self.nodes),
            pairs,
            both_ways=bool(self.counts["directions"]),
            name=self.about["name"],
            node_names=names,
            lines=[line for _, _, line in self.edges],
        )
        lost |= {kind: (len(at), at[0]) for kind, at in self.counts.items() if at}
        self.found.append(Found(graph, self.about["label"], lost, tuple(self.attributes)))

    def wanted(self, tag: str, given: dict[str, str], name: str) -> str:
        if name not in given:
            raise self.wrong(f"<{tag}> has no {name}.")
        return given[name]

    def wrong(self, problem: str) -> DataError:
        return DataError(self.path, problem, line=self.parser.CurrentLineNumber)


_OTHERS = "Read it with NetworkX, and give the graph."


def graphml_text(graph: Graph, label: str) -> str:
    """A GraphML file of one graph, as NetworkX and others read it."""
    names = [_quoted(name) for name in graph.node_names or map(str, range(graph.nodes))]
    about = (("name", graph.name), ("label", label))
    space = {True: "", False: ' xml:space="preserve"'}
    lines = [
        f'    <data key="{key}"{space[text == text.strip()]}>{_quoted(text)}</data>'
        for key, text in about
        if text
    ]
    lines += [f'    <node id="{name}"/>' for name in names]
    lines += [
        f'    <edge source="{names[a]}" target="{names[b]}"/>' for a, b in graph.edges.tolist()
    ]
    return _HEAD + "".join(f"{line}\n" for line in lines) + "  </graph>\n</graphml>\n"


def _quoted(text: str) -> str:
    if found := _UNWRITABLE.search(text):
        raise ValueError(f"XML cannot write {found[0]!r} of the name {shown(text)}; rename it.")
    return re.sub("[\t\n\r]", lambda match: f"&#{ord(match[0])};", html.escape(text))
