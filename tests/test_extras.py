"""What is not installed is named, with the line that installs it."""

import pytest

from pullback._extras import extra


def test_a_module_is_found():
    import math

    assert extra("math", "none") is math


def test_what_is_missing_is_named_with_the_line_that_installs_it():
    with pytest.raises(ImportError, match=r"^nowhere_at_all is .*: pip install 'pullback\[chem\]'"):
        extra("nowhere_at_all.inside", "chem")


def test_what_is_missing_within_a_package_keeps_its_own_name(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import nowhere_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere_at_all'"):
        extra("half_installed", "chem")
