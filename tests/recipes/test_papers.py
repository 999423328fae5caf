"""What each paper's folder says of it."""

import pytest

from pullback.recipes import _papers, find, load, module_of, papers
from pullback.runs._identity import check_settings


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'neural-ode'"):
        find("neuralode")
    with pytest.raises(ValueError, match="did you mean 'cnf'"):
        load("CNF")
    for far in ("xyzzy", "nope"):
        with pytest.raises(ValueError, match=rf"there is no recipe '{far}' \(recipes: "):
            find(far)
    with pytest.raises(ValueError, match="there is no recipe 'cnf/moon'; of this paper there are"):
        find("cnf/moon")


@pytest.mark.parametrize("name", papers())
def test_every_folder_has_the_experiment_and_those_on_other_data(name):
    for each in (name, *(f"{name}/{part}" for part in papers()[name].data)):
        experiment = load(each)
        assert experiment.name == each
        assert experiment.title == papers()[name].title
        assert experiment.run.__module__ == module_of(each)  # whose sources a record is of
        for preset in experiment.presets.values():
            check_settings(preset)


@pytest.mark.parametrize("name", papers())
def test_bibtex_is_balanced_and_names_the_paper(name):
    paper = papers()[name]
    depth = 0
    for letter in paper.bibtex:
        depth += (letter == "{") - (letter == "}")
        assert depth >= 0
    assert depth == 0
    assert f"{{{{{paper.title}}}}}" in paper.bibtex
    assert f"{{{' and '.join(paper.authors)}}}" in paper.bibtex


def test_an_experiment_on_several_sets_reads_the_files_of_all(tmp_path):
    for folder, file in (("uniprobe_pbm", "Gata4.npz"), ("splice_junction", "splice.data")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).touch()
    found = _papers.reads("uniprobe-Gata4 and splice-junctions", tmp_path)
    assert [file.name for file in found] == ["Gata4.npz", "splice.data"]
