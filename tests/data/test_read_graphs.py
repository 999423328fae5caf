"""Graphs from the files in which people have them, and into files that others read."""

import contextlib
import gzip
import re
import zipfile

import networkx as nx
import numpy as np
import pytest

from pullback.data import (
    DataError,
    Graph,
    Graphs,
    Molecules,
    Sequences,
    four_graphs,
    read_graphs,
    write_graphs,
)

TRIANGLE = [[0, 1], [0, 2], [1, 2]]
NO_EDGES = np.zeros((0, 2), int)


def write(folder, name, text):
    file = folder / name
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return file


def graphml(body, *, edges="undirected", head=""):
    return f'<graphml>{head}<graph edgedefault="{edges}">{body}</graph></graphml>'


def nodes(names):
    return "".join(f'<node id="{name}"/>' for name in names)


def edges(*pairs):
    return "".join(f'<edge source="{a}" target="{b}"/>' for a, b in pairs)


def random_graph(seed, names=()):
    generator = np.random.default_rng(seed)
    n = len(names) or int(generator.integers(1, 9))
    upper = np.stack(np.triu_indices(n, 1), axis=1)
    return Graph(n, upper[generator.random(len(upper)) < 0.4], f"graph {seed}", tuple(names))


def same(found, wanted, *, names=True):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert (a.nodes, a.edges.tolist(), a.node_names) == (
            b.nodes,
            b.edges.tolist(),
            b.node_names,
        )
        assert not names or a.name == b.name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.graphml", graphml(nodes("xyz") + edges("xy", "zy", "xz"))),
        ("a.graphml.gz", graphml(edges("xy", "zy", "xz") + nodes("xyz"))),
        ("a.xml", '<?xml version="1.0"?><g:graphml xmlns:g="http://graphml.graphdrawing.org/xmlns">'
                  f'<g:graph>{nodes("xyz").replace("<", "<g:")}'
                  f'{edges("xy", "yz", "zx").replace("<", "<g:")}</g:graph></g:graphml>'),
        ("a.edgelist", "# of friends\nx y\n\ny z # both\n  x  z\n"),
        ("a.txt.gz", "% of friends\nx\ty\ny\tz\nz\ty\nx\tz\n"),
        ("a.edges", "x y {}\ny z {}\nx z {}\n"),
        ("a.txt", "x, y\ny, z\nx, z\n"),
        ("a.csv", "x,y\ny,z\nx,z\n"),
        ("a.csv", "\ufeffid;To;From\n1;y;x\n2;z;y\n3;x;z\n"),
        ("a.csv", "# first\nSource,Target\nx,y\ny,z\nx,z\n"),
        ("a.tsv", "source\ttarget\nx\ty\ny\tz\nx\tz\n"),
        ("a.csv", "source,target\nx,\ny,\nz,\nx,y\ny,z\nx,z\n"),
    ],
)  # fmt: skip
def test_files_of_all_kinds_say_the_same(tmp_path, name, text):
    found = read_graphs(write(tmp_path, name, text))
    (graph,) = found.graphs
    assert (graph.nodes, graph.edges.tolist(), graph.name) == (3, TRIANGLE, "a")
    assert graph.node_names == ("x", "y", "z")
    assert (found.source, found.labels) == (str(tmp_path / name), ())
    assert all(note.startswith("Attributes were dropped: id") for note in found.notes)


@pytest.mark.parametrize(
    ("name", "text", "names", "pairs", "note"),
    [
        ("a.csv", "1,2\n# more, here\n2,3\n", "123", ["12", "23"], "a.csv: comments .* line 2"),
        ("a.csv", "source,target\n% one\na,b\n", "ab", ["ab"], r"comments .*\(1 below .* line 2"),
        ("a.csv", "a,b # note, so\nb,c\n", "abc", ["ab", "bc"], ""),
        ("a.txt", "a,b\n  #c,d\nb,c\t% x\n", "abc", ["ab", "bc"], r"\(2 below .* line 2"),
        ("a.csv", 'a,"#b"\n"#b",c\n', ["a", "#b", "c"], [("a", "#b"), ("#b", "c")], ""),
        ("a.csv", 'a,"x # y"\n', ["a", "x # y"], [("a", "x # y")], ""),
        ("a.csv", 'a,"x\r\n# y"\rc,a', ["a", "x\r\n# y", "c"], [("a", "x\r\n# y"), "ca"], ""),
        ("a.csv", 'a,5" # x\n', ["a", '5"'], [("a", '5"')], ""),
        ("a.csv", '"a;b;c",d\n', ["a;b;c", "d"], [("a;b;c", "d")], ""),
        ("a.csv", "a|b\nb|c\n", "abc", ["ab", "bc"], ""),
        ("a.txt", "a #lonely\nb c\n", "abc", ["bc"], ""),
        ("a.txt", "1 # lonely node\n2 3 %x\n", "123", ["23"], ""),
        ("a.txt", "a b % note of mine\nb#1 c {} # x\n", ["a", "b", "b#1", "c"],
         ["ab", ("b#1", "c")], ""),
        ("a.txt", "a b {'x': 'p #q'} # z\n", "ab", ["ab"], "Attributes were dropped: column 3"),
        ("a.txt", "a\x85b c\u2028d\n", ["a\x85b", "c\u2028d"], [("a\x85b", "c\u2028d")], ""),
        ("a.txt", "# of towns\nNew York\tBoston # by sea\nBoston\t Los Angeles\n",
         ["New York", "Boston", "Los Angeles"],
         [("New York", "Boston"), ("Boston", "Los Angeles")], ""),
        ("a.txt", "1\t2 0.5\n2\t3 0.5\n", "123", ["12", "23"], "2 edges have a weight"),
        ("a.csv", "person,friend\nann,bob\nbob,cy\n", ["person", "friend", "ann", "bob", "cy"],
         [("person", "friend"), ("ann", "bob"), ("bob", "cy")],
         "a.csv: the first row, 'person' and 'friend', was read as an edge; .* source and target"),
        ("a.txt", f"1 2{'0' * 5000}\n", ["1", f"2{'0' * 5000}"], [("1", f"2{'0' * 5000}")], ""),
    ],
)  # fmt: skip
def test_lists_of_edges_as_people_write_them(tmp_path, name, text, names, pairs, note):
    found = read_graphs(write(tmp_path, name, text))
    graph = found.graphs[0]
    called = graph.node_names or tuple(map(str, range(graph.nodes)))
    assert called == tuple(names)
    drawn = {frozenset(called[end] for end in edge) for edge in graph.edges.tolist()}
    assert drawn == set(map(frozenset, pairs))
    assert len(found.notes) == bool(note)
    assert re.search(note, "".join(found.notes))


def test_names_that_are_whole_numbers_are_in_their_order(tmp_path):
    found = read_graphs(write(tmp_path, "a.txt", "10 2\n2 3\n")).graphs[0]
    assert (found.node_names, found.edges.tolist()) == (("2", "3", "10"), [[0, 1], [0, 2]])
    # A node alone, a header that is none of the usual ones, and the numbers from 0.
    text = "left,right\n2,1\n1,0\n3,\n"
    found = read_graphs(write(tmp_path, "a.csv", text)).graphs[0]
    assert (found.nodes, found.node_names, found.edges.tolist()) == (4, (), [[0, 1], [1, 2]])
    found = read_graphs(write(tmp_path, "a.txt", "01 1\n"))
    assert found.graphs[0].node_names == ("01", "1")


def test_names_of_igraph_are_an_attribute(tmp_path):
    named = lambda ids, names: "".join(
        f'<node id="{a}"><data key="v_name">{b}</data></node>'
        for a, b in zip(ids, names, strict=True)
    )
    head = '<key id="v_name" for="node" attr.name="name"/>'
    for ids, names, wanted in (
        (("n0", "n1"), "xy", ("x", "y")), (("n0", "n1"), "xx", ("n0", "n1")), ("ab", "xy", (*"ab",))
    ):  # fmt: skip
        file = write(tmp_path, "a.graphml", graphml(named(ids, names), head=head))
        found = read_graphs(file)
        assert found.graphs[0].node_names == wanted
        assert found.notes == (() if wanted[0] == "x" else ("Attributes were dropped: name.",))


ADORNED = graphml(
    nodes("ab") + '<node id="c"><data key="k"><y:Shape xmlns:y="y"><y:node id="a"/><y:data/>'
    '</y:Shape></data></node>'
    '<edge source="a" target="b"><data key="w">2</data></edge>'
    '<edge source="c" target="c"/><edge source="b" target="a" directed="true"/>',
    head='<key id="w" for="edge" attr.name="weight"/><key id="k" attr.name="shape"/>',
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "told", "line"),
    [
        ("a.graphml", graphml(nodes("ab") + "\n" + edges("ab", "ba"), edges="directed"),
         ["2 edges have a direction"], 2),
        ("a.graphml", graphml(nodes("ab") + edges("ab") + "\n" + edges("ba")),
         ["1 edges join nodes that were joined"], 2),
        ("a.graphml", ADORNED, ["1 edges have a direction", "1 edges have a weight",
         "1 edges join a node with itself", "Attributes were dropped: shape."], 1),
        ("a.txt", "a b 0.5\nb a 0.5\n", ["2 edges have a weight"], 1),
        ("a.txt", "a b\na b\n\na b\n", ["2 edges join nodes that were joined"], 2),
        ("a.txt", "a b {'weight': 2, 'x': (1, 2)}\n", ["1 edges have a weight"], 1),
        ("a.txt", "source target x\na b 1\nb b 2\n",
         ["1 edges join a node with itself", "Attributes were dropped: x."], 3),
        ("a.csv", "Source,Target,Type,Id\na,b,Directed,0\nb,c,Undirected,1\nb,a,Directed,2\n",
         ["2 edges have a direction", "Attributes were dropped: Id"], 2),
        ("a.csv", "source,target,Weight\na,b,1\na,b,\n",
         ["1 edges have a weight", "1 edges join nodes that were joined"], 2),
    ],
)  # fmt: skip
def test_what_a_simple_graph_has_no_room_for(tmp_path, name, text, told, line):
    file = write(tmp_path, name, text)
    found = read_graphs(file)
    assert found.graphs[0].edges[0].tolist() == [0, 1]
    assert len(found.notes) == len(told)
    assert all(note.startswith(start) for note, start in zip(found.notes, told, strict=True))
    with pytest.raises(DataError, match=r"graph 1 \('a'\) is not simple: .*not_simple='drop'") as e:
        read_graphs(file, not_simple="error")
    assert (e.value.file, e.value.line) == (file, line)
    with pytest.raises(ValueError, match="`not_simple` must be one of drop, error"):
        read_graphs(file, not_simple="keep")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.graphml", graphml(nodes("ab") + "\n" + edges("ac")), "line 2: there is no node 'c'"),
        ("a.graphml", graphml(nodes("ab") + "\n" + nodes("a")), "line 2: there are two nodes 'a'"),
        ("a.graphml", graphml("<node/>"), "line 1: <node> has no id"),
        ("a.graphml", graphml('<edge source="a"/>'), "<edge> has no target"),
        ("a.graphml", graphml("<hyperedge/>"), "an edge of more than two nodes"),
        ("a.graphml", graphml('<node id="a"><graph/></node>'), "a graph within a graph"),
        ("a.graphml", graphml(nodes("ab")) + "\n</p>", "line 2: not well-formed"),
        ("a.graphml", graphml('<node id="&lol;"/>'), "not well-formed XML: undefined entity"),
        ("a.graphml", "", "not well-formed XML: no element found"),
        ("a.xml", "<gexf/>", "expected GraphML, got <gexf>. Read it with NetworkX"),
        ("a.graphml", graphml(""), "expected graphs; there is none with a node"),
        ("a.graphml", "<graphml/>", "expected graphs; there is none"),
        ("a.txt", "# nothing\n", "expected graphs; there is none"),
        ("a.txt", "a b\nThis is prose\n", r"1 bad row:\n  line 2: expected two names"),
        ("a.csv", "a,b\n,b\n", "line 2: expected the name of a node first"),
        ("a.csv", 'a,b\n"a,b\n', "line 2: not a table: unexpected end of data"),
        ("a.csv", "a b\nb c\n", "expected two columns, .* there is one. .* ends in .txt"),
        ("a.csv", "id\n1\n2\n", "expected two columns"),
        ("a.csv", "0,1,0\n1,0,1\n0,1,0\n", "looks like a matrix of 3 x 3 numbers"),
        ("a.csv", "a,b,c\n0,1,0\n1,0,1\n0,1,0\n", "looks like a matrix of 3 x 3 numbers"),
        ("a.txt", "0 1 0 0\n0 0 1 0\n0 0 0 1\n1 0 0 0\n", "looks like a matrix of 4 x 4 numbers"),
        ("a.txt", "1 2 3 4\n2 5\n3\n", "line 1: expected a list .* got rows of 2 to 4 cells"),
        ("a.graphml", f"<graphml>{nodes('a')}</graphml>", "a <node> is outside of any <graph>"),
        ("a.graphml", f"<graphml><graph/>{edges('ab')}</graphml>", "a <edge> is outside of any"),
        ("a.graphml", graphml('<locator href="x"/>'), "a <locator> refers to another file"),
        ("a.gml", "graph [ ]", r"expected GraphML \(.graphml, .xml\), a list .* networkx.read_gml"),
        ("a.npz", "", "cannot be read as npz"),
        ("a.zip", "", "cannot be read as a zip file"),
    ],
)  # fmt: skip
def test_files_that_are_no_graphs(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        read_graphs(write(tmp_path, name, text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="there is no such file or folder"):
        read_graphs(tmp_path / "a.graphml")
    (tmp_path / "a.txt").write_bytes(b"a \xff\xfe\n")
    with pytest.raises(DataError, match="expected text in UTF-8"):
        read_graphs(tmp_path / "a.txt")
    whole = gzip.compress(graphml(nodes("ab")).encode())
    (tmp_path / "a.graphml.gz").write_bytes(whole[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        read_graphs(tmp_path / "a.graphml.gz")
    (tmp_path / "a.txt.gz").write_bytes(b"a b")
    with pytest.raises(DataError, match="cannot be read: Not a gzipped file"):
        read_graphs(tmp_path / "a.txt.gz")


LAUGHS = '<!DOCTYPE g [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE g [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
PLAIN = '<!DOCTYPE graphml SYSTEM "graphml.dtd">'


@pytest.mark.parametrize("doctype", [LAUGHS, OUTSIDE, PLAIN])
@pytest.mark.parametrize("code", ["utf-8", "utf-16"])
def test_document_types_are_refused_before_they_are_read(tmp_path, doctype, code):
    text = f'<?xml version="1.0" encoding="{code}"?>\n{doctype}' + graphml('<node id="&a;"/>')
    (tmp_path / "a.graphml").write_bytes(text.encode(code))
    with pytest.raises(DataError, match="declares a document type") as error:
        read_graphs(tmp_path / "a.graphml")
    assert error.value.line == 2
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/a.graphml", text.encode(code))
    with pytest.raises(DataError, match=r"a.zip/in/a.graphml, line 2: declares a document type"):
        read_graphs(tmp_path / "a.zip")


def test_what_swells_beyond_measure_is_refused(tmp_path):
    swollen = graphml(nodes("ab") + " " * (65 << 20)).encode()
    (tmp_path / "a.graphml.gz").write_bytes(gzip.compress(swollen, 1))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for place in range(2):
            archive.writestr(f"{place}.graphml", swollen[: 33 << 20])
    np.savez_compressed(
        tmp_path / "a.npz", A=np.zeros((35 << 20, 2), np.uint8), graph_indicator=np.ones(9)
    )
    for name in ("a.graphml.gz", "a.zip", "a.npz"):
        with pytest.raises(DataError, match=r"unpacks to more than [12]00 times its size"):
            read_graphs(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.txt", "a b")
    whole = (tmp_path / "b.zip").read_bytes()
    end = whole.index(b"PK\1\2")
    for places, message in (((end + 20,), "two things of 'a.txt'"), ((end + 20, 18), "Bad CRC-32")):
        changed = bytearray(whole)
        for place in places:
            changed[place : place + 8] = bytes(8)
        (tmp_path / "b.zip").write_bytes(changed)
        with pytest.raises(DataError, match=message):
            read_graphs(tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.txt", "a b")
    with pytest.raises(DataError, match=r"'a.txt' is packed by a way not known here"):
        read_graphs(tmp_path / "b.zip")


def test_folders_and_zips_are_read_in_the_order_of_their_names(tmp_path):
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    texts = {"10.txt": "a b\n", "2.graphml": graphml(nodes("ab")), "sub/1.csv": "a,b\nb,c\n"}
    others = {"README.txt": "Graphs of mine", "x.png": "", ".hidden.txt": "a b\n",
              "requirements.txt": "jax", "Notes.txt": "To do"}  # fmt: skip
    for name, text in (texts | others).items():
        write(folder, name, text)
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.mkdir("sub")
        for name, text in (texts | others | {"__MACOSX/2.graphml": "?"}).items():
            archive.writestr(f"mine/{name}", text)
    for source in (folder, tmp_path / "mine.zip"):
        found = read_graphs(source)
        assert [graph.name.rpartition("/")[2] for graph in found.graphs] == ["2", "10", "1"]
        (note,) = found.notes
        assert note.startswith("Files that hold no graph: ")
        assert "README.txt" in note
        assert "x.png" in note
        assert "Notes.txt" in note
        assert "hidden" not in note
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="It is empty"):
        read_graphs(tmp_path / "none")
    write(tmp_path / "none", "a.npz", "")
    with pytest.raises(DataError, match=r"It has a.npz"):
        read_graphs(tmp_path / "none")


OTHERS = {
    "new-statistics.csv": "name,nodes,edges,mean_degree\nsample1,6,5,1.7\nsample2,7,6,1.7\n",
    "scores.csv": "row,part,log_density,share_below\n1,fit,-3.5,0.5\n2,fit,-4,0.25\n",
    "whole.csv": "nodes,edges,triangles,pieces\n5,4,0,1\n6,5,0,1\n",
}


@pytest.mark.parametrize("name", OTHERS)
def test_tables_of_something_else_are_no_edges(tmp_path, name):
    with pytest.raises(DataError, match=r"got a table of .*, call two columns source and target"):
        read_graphs(write(tmp_path, name, OTHERS[name]))


def test_tables_of_edges_with_more_columns_are_read(tmp_path):
    found = read_graphs(write(tmp_path, "a.csv", "source,target,x,y\na,b,1,2\nb,c,1,2\n"))
    assert len(found.graphs[0].edges) == 2
    found = read_graphs(write(tmp_path, "b.csv", "ann,bob,work,old\nbob,cy,sport,new\n"))
    assert len(found.graphs[0].edges) == 2


def test_what_lies_beside_graphs_is_passed_over_and_said(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    texts = {"1.csv": "a,b\nb,c\n", "x.zip": "", "x.npz": "", "y.png": ""}
    for name, text in (texts | OTHERS).items():
        write(folder, name, text)
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for name, text in (texts | OTHERS).items():
            archive.writestr(name, text)
    for source in (folder, tmp_path / "mine.zip"):
        found = read_graphs(source)
        assert [graph.name for graph in found.graphs] == ["1"]
        assert found.left_out == {}
        none, packed, tables = sorted(found.notes)
        assert none == "Files that hold no graph: y.png."
        assert packed.endswith(": x.npz, x.zip; give such a file by itself.")
        assert "passed over: new-statistics.csv, scores.csv, whole.csv; if" in tables
    (folder / "1.csv").unlink()
    with pytest.raises(DataError, match=r"new-statistics.csv: expected a list of edges, got a"):
        read_graphs(folder)


def test_numbers_in_names_of_files_are_in_their_order(tmp_path):
    names = ["1.txt", "1\u00b23.txt", "02.txt", "2.txt", "10.txt", f"{'9' * 5000}.txt"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in reversed(names):
            archive.writestr(name, "a b")
    assert [f"{graph.name}.txt" for graph in read_graphs(tmp_path / "a.zip").graphs] == names


def test_sets_as_the_collection_sends_them(tmp_path):
    texts = {"A": "1, 2\n2, 1\n3, 4\n4, 3\n", "graph_indicator": "1\n1\n2\n2\n2\n",
             "graph_labels": "1\n-1\n", "node_labels": "0\n0\n0\n0\n0\n"}  # fmt: skip
    (tmp_path / "SET").mkdir()
    for name, text in texts.items():
        write(tmp_path / "SET", f"SET_{name}.txt", text)
    with zipfile.ZipFile(tmp_path / "SET.zip", "w") as archive:
        for name, text in texts.items():
            archive.writestr(f"SET/SET_{name}.txt", text)
    for source in (tmp_path / "SET", tmp_path / "SET.zip"):
        found = read_graphs(source)
        assert [(g.nodes, g.edges.tolist()) for g in found.graphs] == [(2, [[0, 1]]), (3, [[0, 1]])]
        assert found.labels == ("1", "-1")
        assert "SET_node_labels.txt" in found.notes[-1]
    write(tmp_path / "SET", "SET_A.txt", "1, 2\nx, 1\n")
    with pytest.raises(DataError, match=r"SET_A.txt: expected numbers: could not convert"):
        read_graphs(tmp_path / "SET")
    (tmp_path / "SET" / "SET_A.txt").unlink()
    with pytest.raises(DataError, match=r"SET_A.txt: there is no such file"):
        read_graphs(tmp_path / "SET")


def test_objects_are_taken_as_they_are():
    drawn = [nx.path_graph(3), nx.MultiDiGraph([("a", "b"), ("b", "a"), ("a", "b")]), nx.Graph()]
    drawn[0].add_edge(0, 2, weight=2, colour="red")
    found = read_graphs([*drawn, Graph(1, np.zeros((0, 2), int))])
    assert [(g.nodes, len(g.edges), g.node_names) for g in found.graphs] == [
        (3, 3, ()), (2, 1, ("a", "b")), (1, 0, ()),
    ]  # fmt: skip
    assert [note[:30] for note in found.notes] == [
        "3 edges have a direction, whic", "1 edges have a weight, which w",
        "1 edges join nodes that were j", "Attributes were dropped: colou",
    ]  # fmt: skip
    assert found.left_out == {3: "it has no nodes."}
    assert found.source == "the list"
    with pytest.raises(DataError, match="the list: graph 1 is not simple: 1 edges have a weight"):
        read_graphs(drawn, not_simple="error")
    four = four_graphs()
    assert read_graphs(four) == four
    one = read_graphs(nx.path_graph(2)).graphs[0]
    assert read_graphs(one).graphs == (one,)
    named = Graphs((one, Graph(0, np.zeros((0, 2), int))), ("yes", "no"), "mine", ("Said.",))
    again = read_graphs(named)
    assert (again.graphs, again.labels, again.source, again.notes, again.left_out) == (
        (one,), ("yes",), "mine", ("Said.",), {2: "it has no nodes."},
    )  # fmt: skip
    unnamed = nx.Graph([(0, 1)], name=None, label=None)
    assert (read_graphs(unnamed).graphs[0].name, read_graphs(unnamed).labels) == ("", ())
    for source, message in (
        (3, "got int"), ([3], "number 1 is int"), (["a.txt"], "number 1 is str. Read each path"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=message):
            read_graphs(source)
    with pytest.raises(DataError, match="expected graphs; there is none"):
        read_graphs([])


NAMES = ["x", "a & <b>", "q\"q'", "\u00e9\u4e2d", "a,b;c", "#7", "5 % x", "a\nb", "\x85\u2028|",
         " s\tt\n", "10"]  # fmt: skip
PLAIN_NAMES = ["x", "\u00e9\u4e2d", "7", "b'", "1.5", "a&b", "a#b"]


@pytest.mark.parametrize("kind", [".graphml", ".xml.gz", ".csv", ".tsv", ".txt", ".edgelist.gz",
                                  ".npz", ".zip"])  # fmt: skip
def test_what_is_written_comes_back(tmp_path, kind):
    rich = not kind.startswith((".csv", ".tsv", ".txt", ".edgelist"))
    hard = NAMES if rich else PLAIN_NAMES if kind[:2] in (".t", ".e") and kind != ".tsv" else [
        name for name in NAMES if name == name.strip()]  # fmt: skip
    several = [random_graph(seed) for seed in range(6)]
    several += [random_graph(7, hard), random_graph(8, ["-3", "2", "10"])]
    if rich:  # a list of edges would have these in the order of the numbers
        several += [random_graph(9, [*map(str, range(5, 0, -1))])]
    file = tmp_path / f"a{kind}"
    for graph in several:
        write_graphs(file, graph)
        same(read_graphs(file, not_simple="error").graphs, [graph], names=rich)
        assert read_graphs(file).notes == ()
    if kind in (".npz", ".zip"):
        labels = tuple("abcabcabc") if kind == ".zip" else tuple("012012012")
        write_graphs(file, Graphs(tuple(several), labels))
        found = read_graphs(file)
        same(found.graphs, several)
        assert found.labels == labels
        with zipfile.ZipFile(file) as archive:  # without the time of writing
            assert {each.date_time[0] for each in archive.infolist()} == {1980}
        before = file.read_bytes()
        write_graphs(file, found)
        assert file.read_bytes() == before
    else:
        with pytest.raises(ValueError, match=f"has room for one graph, got {len(several)}"):
            write_graphs(file, several)


def test_networkx_reads_what_is_written_and_the_other_way_round(tmp_path):
    graph = random_graph(3, NAMES[:-2])
    write_graphs(tmp_path / "a.graphml", Graphs((graph,), ("good",)))
    there = nx.read_graphml(tmp_path / "a.graphml")
    assert list(there) == list(graph.node_names)
    assert {frozenset(edge) for edge in there.edges} == {
        frozenset((NAMES[a], NAMES[b])) for a, b in graph.edges.tolist()
    }
    assert there.graph["label"] == "good"
    nx.write_graphml(there, tmp_path / "b.graphml")
    found = read_graphs(tmp_path / "b.graphml")
    same(found.graphs, [graph])
    assert found.labels == ("good",)
    plain = random_graph(4)
    write_graphs(tmp_path / "a.txt", plain)
    back = nx.read_edgelist(tmp_path / "a.txt", nodetype=int)
    assert sorted(map(sorted, back.edges)) == plain.edges.tolist()
    nx.write_edgelist(nx.karate_club_graph(), tmp_path / "club.edgelist")
    found = read_graphs(tmp_path / "club.edgelist")
    assert (found.graphs[0].nodes, len(found.graphs[0].edges)) == (34, 78)
    write_graphs(tmp_path / "club.zip", [nx.karate_club_graph(), nx.path_graph(2)])
    assert [graph.nodes for graph in read_graphs(tmp_path / "club.zip").graphs] == [34, 2]


def test_white_space_around_names_of_graphs(tmp_path):
    graph = Graph(1, NO_EDGES, " of\tmine\n")
    write_graphs(tmp_path / "a.graphml", Graphs((graph,), (" yes",)))
    found = read_graphs(tmp_path / "a.graphml")
    assert (found.graphs[0].name, found.labels) == (graph.name, (" yes",))
    assert nx.read_graphml(tmp_path / "a.graphml").graph["name"] == graph.name
    pretty = '<data key="name">\n  mine\n</data>' + nodes("ab")
    assert read_graphs(write(tmp_path, "b.graphml", graphml(pretty))).graphs[0].name == "mine"


def test_graphs_of_no_nodes_keep_their_place(tmp_path):
    none = Graph(0, np.zeros((0, 2), int))
    for kind in (".npz", ".zip"):
        write_graphs(tmp_path / f"a{kind}", [none, nx.path_graph(2), none])
        assert list(read_graphs(tmp_path / f"a{kind}").left_out) == [1, 3]


@pytest.mark.parametrize(
    ("name", "graphs", "error", "message"),
    [
        ("a.gml", random_graph(0), ValueError, "`path` must end in one of .graphml"),
        ("a.zip.gz", random_graph(0), ValueError, "`path` must end in one of .graphml"),
        ("a", random_graph(0), ValueError, "`path` must end in one of .graphml"),
        ("a.zip", [], ValueError, "must hold at least one graph"),
        ("a.zip", 3, TypeError, "must be a graph, a list of graphs or Graphs; got int"),
        ("a.zip", [3], TypeError, "must be a graph of NetworkX, got int"),
        ("a.zip", nx.DiGraph([(0, 1)]), ValueError, "it has directions"),
        ("a.graphml", random_graph(0, ["a", "\x07"]), ValueError, "XML cannot write '.x07'"),
        ("a.txt", random_graph(0, ["a", "b c"]), ValueError, "write GraphML or a .csv file"),
        ("a.txt", random_graph(0, ["a", "#b"]), ValueError, "cannot hold the name '#b'"),
        ("a.txt", random_graph(0, ["a", "b,"]), ValueError, "cannot hold the name 'b,'"),
        ("a.txt", random_graph(0, ["\ufeffa", "b"]), ValueError, "cannot hold the name '.ufeffa'"),
        ("a.csv", random_graph(0, ["a", ""]), ValueError, "cannot hold the name ''; write GraphML"),
        ("a.csv", random_graph(0, ["a", " b"]), ValueError, "cannot hold the name ' b'"),
    ],
)  # fmt: skip
def test_what_cannot_be_written(tmp_path, name, graphs, error, message):
    with pytest.raises(error, match=message):
        write_graphs(tmp_path / name, graphs)
    assert not list(tmp_path.iterdir())


def test_damage_is_told_and_never_read_as_another_kind_of_error(tmp_path):
    generator = np.random.default_rng(0)
    graphs = Graphs(tuple(random_graph(k, NAMES) for k in range(3)), ("a", "b", "c"))
    for kind in (".graphml", ".csv", ".npz", ".zip", ".txt.gz"):
        plain = random_graph(2)
        write_graphs(tmp_path / f"a{kind}", graphs if kind in (".npz", ".zip") else plain)
        whole = np.frombuffer((tmp_path / f"a{kind}").read_bytes(), np.uint8)
        for _ in range(60):
            broken = whole.copy()
            broken[generator.integers(0, len(whole), 3)] = generator.integers(0, 256, 3)
            cut = int(generator.integers(len(whole) // 2, len(whole) + 1))
            (tmp_path / f"b{kind}").write_bytes(broken[:cut].tobytes())
            with contextlib.suppress(DataError):
                read_graphs(tmp_path / f"b{kind}")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((2, NO_EDGES, "", ("a", "a")), ValueError, "`node_names` has a name twice"),
        ((2, NO_EDGES, "", (0, 1)), TypeError, r"`node_names` must be a tuple of strings, got \(0"),
        ((2, NO_EDGES, "", "ab"), TypeError, "`node_names` must be a tuple of strings, got 'ab'"),
        ((2, NO_EDGES, None), TypeError, "`name` must be a string, got None"),
        ((2**33, np.array([[0, 2**32 + 1]])), ValueError, "`nodes` must be at most 2147483647"),
    ],
)
def test_records_that_are_no_graphs(given, error, message):
    with pytest.raises(error, match=message):
        Graph(*given)


def test_the_largest_number_of_a_node():
    assert Graph(2**31 - 1, np.array([[2**31 - 2, 0]])).edges.tolist() == [[0, 2**31 - 2]]


SEVERAL = [
    (Graphs(tuple(random_graph(seed) for seed in range(3)), ("a", "b", "c")), "graphs"),
    (Sequences(("a", "b", "c"), ("A", "C", "G"), np.arange(3.0)), "letters"),
    (Molecules(("a", "b", "c"), ("C", "CC", "O"), {"x": np.arange(3.0)}), "smiles"),
]


@pytest.mark.parametrize(("several", "field"), SEVERAL)
def test_some_are_taken_by_their_places(several, field):
    all_of = getattr(several, field)
    for places, wanted in (
        ([2, 0, 0], [2, 0, 0]), ([], []), (np.array([True, False, True]), [0, 2]), ([-1], [2]),
        (range(1, 3), [1, 2]), (np.array([1], np.uint8), [1]),
    ):  # fmt: skip
        assert getattr(several.take(places), field) == tuple(all_of[place] for place in wanted)
    for places, error, message in (
        ([1.7], TypeError, r"got float64 of shape \(1,\)"), (1, TypeError, r"shape \(\)"),
        (["a"], TypeError, "must be a list of whole numbers, or a mask"),
        ([[0]], TypeError, r"shape \(1, 1\)"), ([True], ValueError, "a mask of 3, one each; got 1"),
        ([3], IndexError, "`places` has 3, but the last of 3 is 2"),
        ([0, -4], IndexError, "has -4"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            several.take(places)
    with pytest.raises(IndexError, match="`places` has 0, but there is none"):
        several.take([]).take([0])
