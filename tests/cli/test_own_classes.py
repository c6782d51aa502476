"""Sources and metrics in a user's file, which the package has never heard of."""

import sys

import pytest
import torch

from vse_lightning.cli import main
from vse_lightning.cli.errors import told
from vse_lightning.relevance import FeatureTable

THEIRS = '''
import torch
from vse_lightning.metrics import Reading, RetrievalMetric
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


class FirstPlace(RetrievalMetric):
    """The share of queries whose best candidate is of at least some relevance; summed over the directions."""

    display_name = "first place"
    directions, reading = ("i2t", "t2i"), Reading(listed=1)

    def __init__(self, least: float = 0.9, **options):
        super().__init__(**options)
        self.least, self.name = least, f"first_place_{round(100 * least)}"

    def query_values(self, ranking):
        return (ranking.relevance[:, 0] >= self.least).double()


class SameKind(RetrievalMetric):
    """Relevance of the text that is most like each text."""

    name, display_name, directions, reading = "t2t_nearest", "nearest", ("t2t",), Reading(listed=1)

    def query_values(self, ranking):
        return ranking.relevance[:, 0].double()


class BestRank(RetrievalMetric):
    name, display_name, directions, reading = "i2t_best", "best rank", ("i2t",), Reading(positives=1)

    def query_values(self, ranking):
        return ranking.positive_ranks[:, 0].double()

    def summarise(self, values):
        return values["i2t"].min()


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


def by_hand(outputs, words, least):
    """Both directions of ``FirstPlace``."""
    names = torch.tensor([[1.0, *(float(word in text) for word in words)] for text in outputs.texts_of_file])
    table = FeatureTable(names, outputs.image_of_text_of_file, label="by hand")
    relevance = table.block(outputs.image_ids, outputs.text_ids).numpy()
    rows, columns = outputs.scores.argmax(axis=1), outputs.scores.argmax(axis=0)
    best = relevance[range(len(rows)), rows], relevance[columns, range(len(columns))]
    return sum((values >= least).mean() for values in best)


def test_evaluate_takes_metrics_with_arguments_and_intervals(outputs, evaluate, capsys):
    args = [outputs.save(), "--captions", outputs.captions, "--labels", "theirs_of_a_user.Animals", "--intervals"]
    args += ["--extra_metrics", "theirs_of_a_user.FirstPlace", "--extra_metrics.least=0.5"]
    args += ["--extra_metrics", "theirs_of_a_user.FirstPlace", "--extra_metrics=theirs_of_a_user.SameKind"]
    values = evaluate(*args, "--extra_metrics", "theirs_of_a_user.BestRank")["models"]["model"]
    for least in (0.5, 0.9):
        found = values[f"first_place_{100 * least:.0f}"]
        assert found["value"] == pytest.approx(by_hand(outputs, ("dog", "cats"), least))
        assert found["interval"][0] <= found["value"] <= found["interval"][1]
    assert 0 < values["t2t_nearest"]["value"] <= 1
    assert values["t2t_nearest"]["interval"][0] < values["t2t_nearest"]["interval"][1]
    assert values["i2t_best"] == {"value": 1.0}
    assert "first place (animals)" in capsys.readouterr().out


def test_evaluate_takes_metrics_from_a_config(outputs, evaluate, tmp_path):
    (tmp_path / "mine.yaml").write_text("""
labels: [theirs_of_a_user.Animals]
extra_metrics: [{class_path: theirs_of_a_user.FirstPlace, init_args: {least: 0.5}}]
""")
    values = evaluate(outputs.save(), outputs.save("b.npz", 1.0), "--captions", outputs.captions, "--config=mine.yaml")
    assert values["models"]["model"]["first_place_50"]["value"] == by_hand(outputs, ("dog", "cats"), 0.5)
    assert values["models"]["b"]["first_place_50"].keys() == {"value", "p_value"}


def test_a_graded_metric_needs_labels(outputs, evaluate):
    args = [outputs.save(), "--captions", outputs.captions, "--extra_metrics"]
    with pytest.raises(ValueError, match="--extra_metrics: FirstPlace needs graded labels, such as --labels sbert"):
        evaluate(*args, "theirs_of_a_user.FirstPlace")
    assert evaluate(*args, "theirs_of_a_user.BestRank")["models"]["model"]["i2t_best"]["value"] == 1
