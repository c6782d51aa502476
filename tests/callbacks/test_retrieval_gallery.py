import re
from html.parser import HTMLParser

import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.loggers import CSVLogger, Logger

from vse_lightning.callbacks import RetrievalGallery
from vse_lightning.cli import main
from vse_lightning.data import ImageTextDataModule, ShapesSource
from vse_lightning.losses import TripletLoss
from vse_lightning.metrics import RetrievalMetrics
from vse_lightning.models import DualEncoder, GRUTextEncoder
from vse_lightning.pages import render
from vse_lightning.pages.ranked_queries import OnlyMatches
from vse_lightning.pages.ranked_run import RankedRun

from .conftest import NASTY, GivenEmbeddings, Labels, NastySource, Rows

pytest.importorskip("PIL")


class Page(HTMLParser):
    """Text and elements of a page; fails where an element is not closed in its place."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)


class PooledPicture(torch.nn.Module):
    """The smallest image encoder."""

    embed_dim = 16

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3 * 8 * 8, 16)

    def forward(self, image):
        return self.layer(torch.nn.functional.adaptive_avg_pool2d(image, 8).flatten(1))

    def transform(self, train):
        return None


def test_fit_and_test_of_a_dual_encoder_end_with_a_page(trainer_with, tmp_path):
    source = ShapesSource(num_images=80, image_size=32)
    data = ImageTextDataModule(source, relevance="source", batch_size=16, num_workers=0)
    text_encoder = GRUTextEncoder(word_dim=8, embed_dim=16, min_count=1)
    model = DualEncoder(PooledPicture(), text_encoder, TripletLoss(), RetrievalMetrics(coherent_ks=(5,)))
    gallery = RetrievalGallery(queries=2, top_k=4, stages=["val", "test"])
    trainer = trainer_with(gallery, max_epochs=1, logger=CSVLogger(tmp_path, name="shapes", version="a"))
    trainer.fit(model, data)
    assert gallery.path == tmp_path / "shapes" / "a" / "gallery-val.html"
    trainer.test(model, data, verbose=False)
    assert gallery.path == tmp_path / "shapes" / "a" / "gallery-test.html"
    page = Page(gallery.path.read_text(encoding="utf-8"))
    assert page.elements.count("article") == 2 * 3 * 2  # directions, groups, queries
    # the query's picture, and for a caption its picture and 4 candidates
    assert page.elements.count("img") == 3 * 2 * (1 + 5)
    assert "shapes/a" in page.text
    assert "DualEncoder" in page.text
    label = data.eval_relevance_tables["relevance"].label
    assert f"NDCG@10 ({label})" in page.text
    rsum = float(trainer.callback_metrics["test/rsum"])
    assert f"{rsum:.4g}" in page.text


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_quickstart_ends_with_the_page_and_says_where_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = ["--config=quickstart.yaml", "--config=relevance/cider.yaml", "--trainer.accelerator=cpu"]
    config += ["--data.init_args.source.init_args.num_images=40", "--data.init_args.num_workers=0"]
    main(["fit", *config, "--data.init_args.batch_size=32", "--trainer.max_epochs=1"])
    said = re.search(r"^ *page: (.+)$", capsys.readouterr().out, re.MULTILINE)
    page = Page((tmp_path / said[1]).read_text(encoding="utf-8"))
    assert "compared/infonce" in page.text
    assert "NDCG@10 (scene attributes)" in page.text
    assert page.elements.count("img") > 20


def test_nothing_in_a_caption_or_name_becomes_markup(write_page):
    _, html, _ = write_page(RetrievalGallery(queries=3))
    page = Page(html)
    assert "script" not in page.elements
    assert "https://" not in re.sub(r"https://example\.org", "", html)
    assert not re.search(r"http:", html)
    assert all(
        value.startswith(("data:image/jpeg;base64,", "#")) for name, value in page.attributes if name in ("src", "href")
    )
    assert any(f"{NASTY} number" in text for text in page.texts)
    assert any(f"<b>5</b>.png: {NASTY}" in (value or "") for name, value in page.attributes if name == "alt")
    assert "made-up <labels>" in page.text
    assert ("content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes


def test_scores_equal_those_of_a_loop_over_the_matrix(write_page):
    gallery, _, module = write_page(RetrievalGallery(top_k=3, depth=6), ndcg_ks=(3,), coherent_ks=(6,))
    run = RankedRun.load(gallery.path.with_suffix(".npz"))
    image_ids, text_ids = torch.arange(5, 12), torch.arange(10, 24)
    scores = torch.cosine_similarity(module.images[5:, None], module.texts[None, 10:], dim=2)
    match = image_ids[:, None] == text_ids[None, :] // 2
    relevance = module.retrieval_metrics.relevance.block(image_ids, text_ids).masked_fill(match, 1)
    for direction, candidate_ids in (("i2t", text_ids), ("t2i", image_ids)):
        ranked = run.directions[direction]
        for row, (s, r, m) in enumerate(zip(scores, relevance, match, strict=True)):
            order = s.argsort(descending=True)
            assert ranked.candidate_ids[row].tolist() == candidate_ids[order][:3].tolist()
            assert ranked.positives[row].tolist() == m[order][:3].tolist()
            torch.testing.assert_close(ranked.scores[row], s[order][:3])
            torch.testing.assert_close(ranked.relevance[row], r[order][:3])
            assert int(ranked.best_ranks[row]) == 1 + int((s > s[m].max()).sum())
        by_score = relevance.gather(1, scores.argsort(dim=1, descending=True))
        torch.testing.assert_close(ranked.curve, by_score[:, :6].mean(0))
        torch.testing.assert_close(ranked.ideal, relevance.sort(dim=1, descending=True).values[:, :6].mean(0))
        name = f"{direction}_ndcg_at_3"
        assert float(ranked.ndcg.mean()) == pytest.approx(run.metrics[name])
        assert float(ranked.tau.mean()) == pytest.approx(run.metrics[f"{direction}_coherent_score_at_6"])
        scores, relevance, match = scores.T, relevance.T, match.T


def test_lists_follow_the_protocol_but_for_folds(write_page):
    gallery, html, _ = write_page(RetrievalGallery(), captions_per_image=1, folds=7)
    assert "mean over 7 folds; lists and curves rank the whole gallery" in html
    run = RankedRun.load(gallery.path.with_suffix(".npz"))
    assert run.directions["t2i"].query_ids.tolist() == [10, 12, 14, 16, 18, 20, 22]
    assert run.directions["t2i"].candidate_ids.shape == (7, 7)


class Unnamed:
    """Labels that do not say what they are."""

    block = Labels.block


def test_further_directions_are_columns_of_the_metrics(write_page):
    _, page, _ = write_page(RetrievalGallery(), recall_ks=(1,), coherent_ks=(), directions=("i2t", "t2i", "i2i"))
    heads = re.findall(r'<th scope="col">(.*?)</th>', page[: page.index("Relevance by rank</h2>")])
    assert heads == ["metric", "image → text", "text → image", "image → image"]
    assert page.count("<h2>Image → image") == 0  # lists are shown of the first two


def test_labels_without_a_name_are_called_by_their_class(write_page):
    _, html, module = write_page(RetrievalGallery(), relevance=Unnamed())
    assert module.retrieval_labels == {"": "Unnamed"}
    assert "NDCG@10 (Unnamed)" in Page(html).text


def test_one_image_is_enough(write_page):
    source = NastySource()
    source.splits["test"] = torch.tensor([8])
    _, html, _ = write_page(RetrievalGallery(), source=source)
    assert Page(html).elements.count("article") == 2 * 3


def test_a_second_run_stands_beside(write_page):
    first, _, _ = write_page(RetrievalGallery(queries=2), folder="first", seed=1)
    gallery = RetrievalGallery(queries=2, compare_to=first.path.with_suffix(".npz"))
    _, html, _ = write_page(gallery, folder="second")
    page = Page(html)
    assert "first" in page.text
    assert page.attributes.count(("class", "result")) == 2 * 2 * 3 * 2  # runs, directions, groups, queries
    first_run = RankedRun.load(first.path.with_suffix(".npz"))
    assert f"{first_run.metrics['rsum']:.4g}" in page.text
    assert "different labels" not in page.text
    _, html, _ = write_page(gallery, folder="third", relevance=None, ndcg_ks=(), coherent_ks=())
    assert "different labels" in html
    assert OnlyMatches.label in html


def test_a_run_over_other_images_is_left_out(write_page, trainer_with):
    gallery = RetrievalGallery(stages=["val"])
    trainer_with(gallery, folder="first").validate(GivenEmbeddings(), Rows(NastySource()), verbose=False)
    with pytest.warns(UserWarning, match="ranked other images"):
        _, html, _ = write_page(RetrievalGallery(compare_to=gallery.path.with_suffix(".npz")))
    assert 'class="run B"' not in html


def test_files_to_compare_with_are_looked_at_before_the_test(write_page, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        write_page(RetrievalGallery(compare_to=tmp_path / "nothing.npz"))
    for content in (b"", b"PK broken", b"\x93NUMPY"):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"broken.npz' is no results file"):
            write_page(RetrievalGallery(compare_to=tmp_path / "broken.npz"))


def test_images_without_pictures_are_named_and_described(write_page):
    _, html, _ = write_page(RetrievalGallery(queries=1), source=NastySource(pictures=False))
    page = Page(html)
    assert "img" not in page.elements
    assert "<b>11</b>.png" in page.texts
    assert page.elements.count("details") == 3 * (1 + 7) + 1  # the query and 7 candidates of each group, and the legend


def test_pages_are_reproducible_and_seeds_differ(write_page):
    pages = [write_page(RetrievalGallery(queries=2, seed=seed))[1] for seed in (0, 0, 1)]
    assert pages[0] == pages[1]
    assert pages[0] != pages[2]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Using `DistributedSampler` with the dataloaders:UserWarning")
def test_two_processes_write_the_page_of_one(write_page, trainer_with, tmp_path):
    _, html, _ = write_page(RetrievalGallery())  # 7 images: one process sees an image twice
    trainer = trainer_with(RetrievalGallery(), folder="two", strategy="ddp_fork", devices=2)
    trainer.test(GivenEmbeddings(), Rows(NastySource()), verbose=False)
    written = (tmp_path / "two" / "gallery-test.html").read_text(encoding="utf-8")
    assert written.replace("/two<", "/run<").replace("/two,", "/run,") == html


def test_validation_writes_only_when_asked_and_never_in_the_sanity_check(trainer_with):
    gallery = RetrievalGallery(stages=["val"])
    trainer = trainer_with(gallery, max_epochs=1, check_val_every_n_epoch=2, num_sanity_val_steps=2)
    trainer.fit(GivenEmbeddings(), Rows(NastySource()))
    assert gallery.path is None
    trainer.test(GivenEmbeddings(), Rows(NastySource()), verbose=False)
    assert gallery.path is None
    trainer.validate(GivenEmbeddings(), Rows(NastySource()), verbose=False)
    assert gallery.path.name == "gallery-val.html"


class Album(Logger):
    """Takes pictures as W&B's logger does."""

    name, version, save_dir, experiment = "album", "0", None, None

    def __init__(self):
        super().__init__()
        self.pictures = {}

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        pass

    def log_image(self, key, images, step):
        self.pictures[key] = images


def test_loggers_that_take_pictures_get_them(trainer_with, tmp_path):
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = [TensorBoardLogger(tmp_path, name="board", version=0), CSVLogger(tmp_path), Album()]
    trainer = trainer_with(RetrievalGallery(queries=2), logger=loggers)
    trainer.test(GivenEmbeddings(), Rows(NastySource()), verbose=False)
    names = ["test/relevance_by_rank", "test/retrieved_images"]
    assert sorted(loggers[2].pictures) == names
    board = EventAccumulator(str(tmp_path / "board" / "version_0"))
    board.Reload()
    assert sorted(board.Tags()["images"]) == names
    sheet = loggers[2].pictures["test/retrieved_images"][0]
    assert board.Images("test/retrieved_images")[0].width == sheet.width


def test_loggers_get_no_curves_without_matplotlib(trainer_with, monkeypatch):
    monkeypatch.setattr("vse_lightning.pages.logged_pictures.find_spec", lambda name: None)
    album = Album()
    trainer_with(RetrievalGallery(queries=2), logger=album).test(GivenEmbeddings(), Rows(NastySource()), verbose=False)
    assert list(album.pictures) == ["test/retrieved_images"]


class NoMetrics(LightningModule):
    def test_step(self, batch):
        pass


def test_errors_say_what_is_missing(trainer_with):
    with pytest.raises(ValueError, match="NoMetrics must inherit from it and be given retrieval_metrics"):
        trainer_with(RetrievalGallery()).test(NoMetrics(), Rows(NastySource()), verbose=False)
    with pytest.raises(ValueError, match="source must be an ImageTextSource"):
        trainer_with(RetrievalGallery()).test(GivenEmbeddings(), Rows(NastySource()).test_dataloader(), verbose=False)


@pytest.mark.parametrize(
    "arguments",
    [
        {"queries": 0},
        {"top_k": 1.5},
        {"depth": 1},
        {"seed": -1},
        {"stages": "test"},
        {"stages": ()},
        {"stages": ["train"]},
        {"stages": ["test", "test"]},
    ],
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=f"^(every entry of )?{next(iter(arguments))} must be"):
        RetrievalGallery(**arguments)


def test_files_of_others_are_never_replaced(tmp_path):
    from vse_lightning.callbacks.retrieval_gallery import _place

    assert _place(tmp_path, "gallery-test").name == "gallery-test.html"
    (tmp_path / "gallery-test.html").write_text("<html>mine</html>")
    assert _place(tmp_path, "gallery-test").name == "gallery-test-1.html"
    (tmp_path / "gallery-test-1.html").write_text(render("base.html", title="ours", facts={}))
    assert _place(tmp_path, "gallery-test").name == "gallery-test-1.html"
    (tmp_path / "gallery-val.npz").write_bytes(b"mine")
    assert _place(tmp_path, "gallery-val").name == "gallery-val-1.html"
