"""A run's time is that of all its legs, also of those that were killed."""

import json
import os
import time

import pytest

from pullback.runs._legs import leg
from pullback.runs._written import RunError, Written


def _ended(folder, seconds=0.0):
    with leg(Written(folder)) as before:
        time.sleep(seconds)
    return before


def test_each_leg_counts_the_ones_before(tmp_path):
    assert _ended(tmp_path, 0.05) == []
    [first] = _ended(tmp_path)
    assert 0.05 <= first < 5
    with pytest.raises(KeyboardInterrupt), leg(Written(tmp_path)):
        raise KeyboardInterrupt
    assert [len(_ended(tmp_path)), len(_ended(tmp_path))] == [3, 4]


@pytest.mark.parametrize("written", [True, False])
def test_a_killed_leg_lasted_until_the_last_file_that_it_wrote(tmp_path, written):
    files = Written(tmp_path)
    paths = [files.claim(name) for name in ("legs.json", "metrics.jsonl")]
    began = 1_000_000.0
    paths[0].write_text(json.dumps([{"began": began, "seconds": None}]))
    os.utime(paths[0], (began, began))
    if written:
        paths[1].write_text("{}\n")
        os.utime(paths[1], (began + 70, began + 70))
        (tmp_path / "mine.txt").write_text("of no run")  # today's
    assert _ended(tmp_path) == [70.0 if written else 0.0]
    assert len(_ended(tmp_path)) == 2


def test_the_time_of_a_checkpoint_of_a_training_counts(tmp_path):
    files = Written(tmp_path)
    legs, folder = files.claim("legs.json"), files.claim("training/a")
    legs.write_text(json.dumps([{"began": 500.0, "seconds": None}]))
    os.utime(legs, (500, 500))
    folder.mkdir(parents=True)
    checkpoint = folder / "checkpoint-3.safetensors"
    checkpoint.write_bytes(b"")
    os.utime(checkpoint, (640, 640))
    assert _ended(tmp_path) == [140.0]


def test_a_killed_leg_of_a_folder_that_was_copied_lasted_no_day(tmp_path):
    files = Written(tmp_path)
    legs, metrics = files.claim("legs.json"), files.claim("metrics.jsonl")
    legs.write_text(json.dumps([{"began": 500.0, "seconds": None}]))
    metrics.write_text("")
    assert _ended(tmp_path)[0] < 60


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", '[{"began": 1}]', '[{"began": true, "seconds": 1}]',
     '[{"began": 1, "seconds": -1}]', '[{"began": 1, "seconds": NaN}]'],
)  # fmt: skip
def test_a_damaged_list_is_named(tmp_path, text):
    Written(tmp_path).claim("legs.json").write_text(text)
    with pytest.raises(RunError, match=r"legs\.json is damaged: .*delete it, and --resume"):
        _ended(tmp_path)
