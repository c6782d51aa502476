import torch

from vse_lightning.pages.ranked_run import RankedQueries


def ranked(best_ranks, ndcg, image_ids):
    empty = dict.fromkeys(RankedQueries.__dataclass_fields__, torch.empty(0))
    own = {
        "query_ids": torch.arange(len(best_ranks)),
        "query_image_ids": torch.tensor(image_ids),
        "best_ranks": torch.tensor(best_ranks),
        "ndcg": torch.tensor(ndcg),
    }
    return RankedQueries(**{**empty, **own})


def test_best_and_worst_go_by_rank_and_then_by_ndcg():
    queries = ranked([3, 1, 1, 9, 9], [0.9, 0.2, 0.8, 0.5, 0.1], [0, 1, 2, 3, 4])
    chosen = queries.select(2, seed=0)
    assert chosen["best"] == [2, 1]
    assert chosen["worst"] == [4, 3]


def test_no_two_queries_of_a_group_are_about_one_image():
    queries = ranked([1, 1, 2, 7, 8, 9], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [5, 5, 5, 6, 7, 7])
    chosen = queries.select(2, seed=0)
    assert chosen["best"] == [0, 3]
    assert chosen["worst"] == [5, 3]
    assert sorted(queries.query_image_ids[queries.select(9, seed=3)["sampled"]].tolist()) == [5, 6, 7]


def test_samples_repeat_with_their_seed():
    queries = ranked([1] * 100, [0.5] * 100, list(range(100)))
    samples = [queries.select(8, seed)["sampled"] for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]
