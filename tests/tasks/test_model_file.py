"""Models of the user's own, named as FILE.py:NAME, and their answers."""

import numpy as np
import pytest

from pullback.data import DataError
from pullback.tasks import model_of_file
from pullback.tasks._answers import Answers, changes
from pullback.tasks._model_file import place_of

pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture
def my(tmp_path):
    def write(text, name="my.py"):
        (tmp_path / name).write_text(text)
        return name

    return write


def test_a_function_of_a_file_is_called_with_what_lies_beside_it(my, tmp_path):
    (tmp_path / "deep").mkdir()
    my("OFFSET = 3\n", "deep/beside_it.py")
    my("import beside_it\nassert __name__ != '__main__'\n"
       "def predict(x):\n    return x + beside_it.OFFSET\n", "deep/mine.py")  # fmt: skip
    predict = model_of_file("deep/mine.py:predict")
    assert predict(1) == 4
    assert place_of(predict) == ("deep/mine.py", 3)
    # Another one is read, not the first again.
    my("def predict(x):\n    return -x\n", "deep/mine.py")
    assert model_of_file(tmp_path / "deep" / "mine.py:predict")(1) == -1


def test_a_model_with_probabilities_and_one_that_pickles_by_its_module_are_taken(my):
    text = "import dataclasses\n@dataclasses.dataclass\nclass Net:\n    k: int = 1\n"
    text += "    def predict_proba(self, x):\n        return x\nmodel = Net()\n"
    assert model_of_file(f"{my(text, 'net_of_mine.py')}:model").k == 1


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (
            "my.py",
            r"my.py: say which function of it, as my.py:predict; the file has Net, predict, T",
        ),
        ("my.py:", r"say which function of it"),
        ("my.py:predcit", r"my.py: it has no 'predcit'; did you mean 'predict'\? the file has Net"),
        ("my.py:Net", r"my.py, line 1: 'Net' is a class .* model = Net\(\), and name that"),
        ("my.py:T", r"my.py, line 5: 'T' is a float, and neither a function nor a model"),
        ("no.py:predict", r"no.py: there is no such file"),
        ("m.pkl", r"two lines, `import pickle` and `model = pickle.load\(open\(\"m.pkl\""),
        ("m.joblib:model", r"`import joblib` and `model = joblib.load\(\"m.joblib\"\)`"),
        ("a/m.pt", r"a/m.pt: a pickled model .*`import torch` and `model = torch.load\(\"a/m.pt\""),
        ("m.h5", r"`import keras` and"),
        ("m.onnx:f", r"a model is given as a Python file and the name of a function in it"),
    ],
)
def test_what_names_no_model_is_refused_with_the_remedy(my, word, told):
    my("class Net:\n    pass\ndef predict(x):\n    return x\nT = 0.5\n_hidden = 1\n")
    with pytest.raises(DataError, match=told):
        model_of_file(word)


def test_what_goes_wrong_in_the_file_is_said_with_its_line(my):
    my("x = 1\nimport no_such_module_at_all\n", "a.py")
    with pytest.raises(DataError, match=r"a.py, line 2: running it raised ModuleNotFoundError"):
        model_of_file("a.py:x")
    my("def f(:\n", "b.py")
    with pytest.raises(DataError, match=r"b.py, line 1: this is no Python"):
        model_of_file("b.py:f")
    my("import sys\nsys.exit('bye')\n", "c.py")
    with pytest.raises(DataError, match=r"c.py, line 2: running it raised SystemExit: bye"):
        model_of_file("c.py:f")


@pytest.mark.parametrize(
    "content",
    [
        b"\0", b"x = 1\n\0", b"# coding: utf-99\n", b"\xff\xfex", b"(" * 3000, b"-" * 4000 + b"1",
        b"-" * 9000 + b"1",
    ],
    ids=["zero", "zero within", "coding", "bytes", "brackets", "deep", "deeper"],
)  # fmt: skip
def test_what_is_no_python_is_told_of_the_file(my, content, tmp_path):
    (tmp_path / "my.py").write_bytes(content)
    with pytest.raises(DataError, match=r"^my.py\b.* this is no Python: \S"):
        model_of_file("my.py:predict")


def test_a_name_that_is_too_long_names_no_file():
    with pytest.raises(DataError, match="there is no such file"):
        model_of_file("m" * 300 + ".py:predict")


ANSWERS = {
    "one": "return x.mean(axis=(1, 2, 3))",
    "column": "return x.mean(axis=(1, 2, 3))[:, None]",
    "names": "return ['cat'] * len(x)",
    "short": "return [[0.5, 0.5]]",
    "deep": "return [[[0.5, 0.5]] * 3] * len(x)",
    "nan": "return [[float('nan'), 1.0]] * len(x)",
    "logits": "return [[-3.0, 2.5]] * len(x)",
    "labels": "return [[0.7, 0.9]] * len(x)",
    "raises": "y = x.T\n    return y @ x[0, 0, :1, :1] @ y",
}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "one",
            r"line 1: the model gave one number for each of pictures, \(3,\).*np.stack\(\[1 - p",
        ),
        ("column", r"gave one number for each of pictures, \(3, 1\)"),
        ("names", r"gave .* and no numbers: return the probabilities"),
        ("short", r"gave an array of shape \(1, 2\) for 3 of pictures; it must be \(3, classes\)"),
        ("deep", r"shape \(3, 3, 2\).* return the last, \[:, -1\]"),
        ("nan", r"gave \[nan, 1\] for 3 of 3 pictures, which is NaN or infinite"),
        ("logits", r"gave \[-3, 2.5\], which sums to -0.5 and not to 1.*--outputs logits"),
        ("labels", r"sums to 1.6 and not to 1"),
        ("raises", r"bad.py, line 3: given pictures of shape \(3, 1, 2, 2\) it raised ValueError"),
    ],
)
def test_answers_that_cannot_be_explained_name_the_file_the_line_and_the_remedy(my, name, told):
    my(f"def f(x):\n    {ANSWERS[name]}\n", "bad.py")
    ask = Answers(model_of_file("bad.py:f"), "probabilities", "pictures")
    with pytest.raises(DataError, match=told) as raised:
        ask(np.zeros((3, 1, 2, 2)))
    assert str(raised.value).startswith("bad.py, line ")


def test_answers_that_can_be_explained_are_passed_on():
    ask = Answers(lambda x: np.stack([x[:, 0], 1 - x[:, 0]], axis=1), "probabilities", "rows")
    x = np.array([[0.25], [1.0]])
    np.testing.assert_array_equal(ask(x), [[0.25, 0.75], [1, 0]])
    assert changes(ask, x) == 0
    assert Answers(lambda x: [[3, -4]] * len(x), "logits", "rows")(x).dtype == np.float64
    assert Answers(lambda x: x[:, 0], "any", "rows")(x).shape == (2, 1)
    sizes = iter([2, 3])
    ask = Answers(lambda x: np.ones((len(x), next(sizes))), "logits", "rows")
    ask(x)
    with pytest.raises(DataError, match="gave 3 numbers, and 2 in another call"):
        ask(x)


def test_a_model_that_draws_or_mixes_its_batch_is_found():
    random = np.random.default_rng(0)
    x = np.arange(4.0)[:, None]
    assert changes(lambda x: x + random.normal(size=x.shape), x) > 0.01
    assert changes(lambda x: np.cumsum(x, axis=0), x) == 6
