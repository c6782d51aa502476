"""Sources and metrics in a user's file, which the package has never heard of."""

import sys

import pytest
import torch

from vse_lightning.cli import main
from vse_lightning.cli.errors import told
from vse_lightning.relevance import FeatureTable

THEIRS = '''
import torch
from vse_lightning.metrics import RetrievalMetric
from vse_lightning.ranking.reading import Reading
from vse_lightning.relevance import FeatureTable, RelevanceSource


class Animals(RelevanceSource):
    """Captions are alike when they name the same animals."""

    name = "animals"

    def __init__(self, words: tuple[str, ...] = ("dog", "cats")):
        self.words = words

    def table(self, captions, image_ids, text_ids=None):
        named = [[1.0, *(float(word in caption) for word in self.words)] for caption in captions]
        return FeatureTable(torch.tensor(named), image_ids, text_ids, label=self.name)


class Learnt(Animals):
    name = "learnt"

    def __init__(self):
        super().__init__(())

    def fit(self, captions, image_ids):
        self.words = sorted(set(captions[0].split()))
        return self


class Broken(Animals):
    def table(self, captions, image_ids, text_ids=None):
        return len(3)
'''


@pytest.fixture(autouse=True)
def theirs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "theirs_of_a_user", raising=False)
    (tmp_path / "theirs_of_a_user.py").write_text(THEIRS)


def expected_under(outputs, words, label):
    named = [[1.0, *(float(word in text) for word in words)] for text in outputs.texts_of_file]
    table = FeatureTable(torch.tensor(named), outputs.image_of_text_of_file, label=label)
    return pytest.approx({name: float(value) for name, value in outputs.metrics(table).compute().items()}, abs=1e-6)


def test_evaluate_takes_a_source_by_its_dotted_path(outputs, evaluate, values_of, capsys):
    results = evaluate(outputs.save(), "--captions", outputs.captions, "--labels", "theirs_of_a_user.Animals")
    assert values_of(results) == expected_under(outputs, ("dog", "cats"), "animals")
    assert results["labels"] == {"": "animals"}
    assert "NDCG@10 (animals)" in capsys.readouterr().out


def test_a_source_that_learns_is_fitted_on_the_train_split(outputs, evaluate):
    results = evaluate(outputs.save(), "--captions", outputs.captions, "--labels=theirs_of_a_user.Learnt")
    assert results["labels"][""].startswith("learnt, fitted on the train split (")


def test_evaluate_takes_sources_with_arguments_from_a_config(outputs, evaluate, values_of, tmp_path):
    (tmp_path / "mine.yaml").write_text("""
labels:
- theirs_of_a_user.Animals
- {class_path: theirs_of_a_user.Animals, init_args: {words: [bus]}}
""")
    with pytest.raises(ValueError, match="--labels must differ, got Animals, Animals"):
        evaluate(outputs.save(), "--captions", outputs.captions, "--config", "mine.yaml")
    (tmp_path / "mine.yaml").write_text("labels: [{class_path: theirs_of_a_user.Animals, init_args: {words: [bus]}}]")
    results = evaluate(outputs.save(), "--captions", outputs.captions, "--config", "mine.yaml")
    assert values_of(results) == expected_under(outputs, ("bus",), "animals")


def test_what_is_no_source_is_named_and_errors_inside_keep_their_traceback(outputs, evaluate):
    for name in ("theirs_of_a_user.Nothing", "torch.nn.Linear", "theirs"):
        with pytest.raises(ValueError, match=f"or the dotted path of a RelevanceSource, got '{name}'"):
            evaluate(outputs.save(), "--captions", outputs.captions, "--labels", name)
    with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere'"):
        evaluate(outputs.save(), "--captions", outputs.captions, "--labels", "nowhere.Source")
    with pytest.raises(TypeError) as caught:
        evaluate(outputs.save(), "--captions", outputs.captions, "--labels", "theirs_of_a_user.Broken")
    assert told(caught.value)[1] is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_label_takes_a_source_by_its_dotted_path(capsys):
    pytest.importorskip("PIL")
    small = ["--data=ImageTextDataModule", "--data.source=ShapesSource", "--data.source.num_images=20"]
    main(["label", *small, "--data.relevance=theirs_of_a_user.Animals"])
    assert "nothing to cache: no label source of this config keeps anything on disk" in capsys.readouterr().out
    main(["label", *small, "--data.relevance=theirs_of_a_user.Animals", "--data.relevance.words=[red]", "--force"])
