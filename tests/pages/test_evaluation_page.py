"""The page of an evaluation, from results made by hand."""

import re

import pytest
import torch

from vse_lightning.pages import PAGE_MARK
from vse_lightning.pages.evaluation_page import Result, evaluation_page
from vse_lightning.pages.items import Items
from vse_lightning.pages.ranked_run import RankedQueries, RankedRun
from vse_lightning.report import Display

EVIL = "<script>alert('x')</script>"
CAPTIONS = ["a dog", f"a cat {EVIL}", "two birds"]


RESULTS = {
    "ours": {
        "i2t_recall_at_1": Result(0.5, Display("R@1", "i2t", percent=True), (0.4, 0.625)),
        "i2t_ndcg_at_10": Result(0.9, Display("NDCG@10 (SBERT)", "i2t", graded=True)),
        "t2i_recall_at_1": Result(0.25, Display("R@1", "t2i", percent=True)),
        "rsum": Result(75.0, Display("rsum")),
    },
    "<theirs>": {
        "i2t_recall_at_1": Result(0.75, Display("R@1", "i2t", percent=True), None, 0.049),
        "i2t_ndcg_at_10": Result(0.7, Display("NDCG@10 (SBERT)", "i2t", graded=True), None, 0.05),
        "t2i_recall_at_1": Result(0.125, Display("R@1", "t2i", percent=True), None, 0.5),
        "rsum": Result(87.5, Display("rsum")),
    },
}


def run(name, best_ranks):
    """Three captions of three images; the best candidate is always the next one."""
    ids, following = torch.arange(3), torch.tensor([[1, 0], [2, 1], [0, 2]])
    ranked = RankedQueries(
        query_ids=ids,
        query_image_ids=ids,
        candidate_ids=following,
        scores=torch.tensor([[0.5, -0.25]] * 3),
        relevance=torch.tensor([[0.125, 1.0]] * 3),
        positives=torch.tensor([[False, True]] * 3),
        best_ranks=torch.tensor(best_ranks),
        ndcg=torch.tensor([0.5, 0.25, 0.125]),
        tau=torch.zeros(3),
        curve=torch.tensor([0.125, 1.0]),
        ideal=torch.tensor([1.0, 0.125]),
    )
    return RankedRun(name, "test", "SBERT", {}, {}, 2, 2, {"i2t": ranked, "t2i": ranked})


def text_of(page):
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_table_has_values_intervals_and_stars():
    page = evaluation_page(RESULTS, notes=["3 images"], level=0.05)
    body = page[page.index("<h2>Metrics") :]
    sections = re.findall(r'<th scope="rowgroup".*?>(.*?)</th>', body)
    assert sections == ["image → text", "text → image", "several directions"]
    assert "R@1 50.0 % [40.0, 62.5] 75.0 % * NDCG@10 (SBERT) 0.9000 0.7000 text → image" in text_of(body)
    assert body.count(">*<") == 1  # 0.05 is not below the level
    assert "R@1 25.0 % 12.5 % several directions" in text_of(body)
    assert "3 images" in body
    assert "random" not in body
    assert "Hardest" not in page


def test_floors_stand_beside_and_bars_show_the_share_between_them():
    floors = {"random": {"i2t_ndcg_at_10": 0.8}, "ideal": {"i2t_ndcg_at_10": 1.0}}
    page = evaluation_page(RESULTS, baselines=floors)
    assert "NDCG@10 (SBERT) 0.8000 0.9000 0.7000 1.000" in text_of(page)
    assert re.findall(r'class="bar" style="--r:(.*?)"', page) == ["0.500", "0.000"]  # below random there is no bar


def test_curves_and_hardest_queries_of_all_models():
    runs = [run("ours", [2, 3, 2]), run("<theirs>", [2, 2, 2])]
    items = Items(CAPTIONS, torch.arange(3))
    page = evaluation_page(RESULTS, runs=runs, items=items)
    assert page.count("<polyline") == 2 * 3  # directions; two models and the ideal
    assert 'aria-label="Mean relevance by rank, image → text: A 0.12 at rank 1, 1.00 at rank 2; B 0.12' in page
    asked = re.findall(r"<blockquote>(.*?)</blockquote>", page)
    assert [re.sub(r"&.*", "", text) for text in asked] == ["a cat ", "two birds", "a dog"]
    assert page.count('class="result"') == 2 * 3 * 2  # directions, queries, models
    assert "match rank 3" in text_of(page)


def test_captions_that_nobody_knows_are_numbered():
    page = evaluation_page(RESULTS, runs=[run("ours", [1, 1, 1])], items=Items([], torch.arange(3)))
    assert "<blockquote>text 2</blockquote>" in page
    assert "of image 2" in page


def test_page_is_ours_and_asks_for_nothing():
    runs = [run("ours", [2, 3, 2]), run("<theirs>", [2, 2, 2])]
    page = evaluation_page(RESULTS, notes=[EVIL], runs=runs, items=Items(CAPTIONS, torch.arange(3)))
    assert PAGE_MARK in page[:4096]
    assert "<script" not in page
    assert "<theirs>" not in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "url(" not in page


@pytest.mark.parametrize("count", [1, 30])
def test_any_number_of_models(count):
    results = {f"model {place}": RESULTS["ours"] for place in range(count)}
    page = evaluation_page(results)
    assert ('class="run A"' in page) == (count > 1)
    assert all(name in page for name in results)
