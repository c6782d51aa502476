"""One process of a group: evaluates its share of a gallery."""

import warnings
from datetime import timedelta

import torch
from torch import distributed

from vse_lightning.metrics import (
    CoherentScore,
    CumulativeSemantic,
    HierarchicalAP,
    MeanAveragePrecision,
    RecallAtK,
    RetrievalMetrics,
    RetrievalNDCG,
)
from vse_lightning.ranking.pair_scores import PairScores

WHOLE = [
    metric
    for direction in ("i2t", "t2i")
    for metric in (
        HierarchicalAP(direction),
        HierarchicalAP(direction, exclude_positives=True),
        MeanAveragePrecision(direction),
        MeanAveragePrecision(direction, positive_threshold=0.7),
        CumulativeSemantic(5, direction),
        RetrievalNDCG("relevant", direction),
        CoherentScore(20, direction, exclude_positives=True),
    )
]


class Table:
    label = "toy labels"

    def block(self, image_ids, text_ids, captions_per_image=None):
        return torch.sin(image_ids[:, None] + text_ids[None, :] * 0.7).abs()


def share(batch, rank, world_size):
    """Uneven shares; of three processes the first repeats an image of the second, and the third has nothing."""
    images = torch.arange(len(batch["image_ids"]))
    if world_size == 1:
        return images
    cut = len(images) // 4
    first = torch.cat([images[:cut], images[-1:]])
    return [first, images[cut:], images[:0]][rank]


def feed(metrics, batch, images, size):
    for some in images.split(size):
        ids = batch["image_ids"][some]
        texts = torch.isin(batch["text_image_ids"], ids)
        inputs = {name: rows[texts] for name, rows in batch.items() if name.startswith("text")}
        metrics.update(image_embeds=batch["image_embeds"][some], image_ids=ids, **inputs)


def values_of_all(batch, scored=(), rank=0, world_size=1, group=None):
    """Values by case: each must be the same on any number of processes."""
    values = {}
    cases = {
        "plain": {},
        "small blocks": {"chunk_size": 64},
        "folds": {"folds": 2},
        "first captions": {"captions_per_image": 1},
        "table": {"relevance": Table()},
        "no labels": {"ndcg_ks": (), "coherent_ks": ()},
        "long lists": {"coherent_ks": (1000,), "chunk_size": 64},
        "whole lists": {"extra": WHOLE, "chunk_size": 64},
        "others": {"directions": ("i2i", "t2t"), "chunk_size": 64},
        "inexact": {"similarity": inexact, "chunk_size": 64},
    }
    for case, options in cases.items():
        given = batch
        if case == "no labels":
            given = {name: rows for name, rows in batch.items() if name != "text_features"}
        elif case == "inexact":
            given = {name: rows.double() if name == "text_features" else rows for name, rows in batch.items()}
        metrics = RetrievalMetrics(rank_statistics=True, average_precision=True, process_group=group, **options)
        feed(metrics, given, share(given, rank, world_size), 11 + rank)
        values[case] = metrics.compute()
        for kind, of_kind in metrics.baselines().items():
            values[f"{case}, {kind}"] = {name: torch.tensor(value) for name, value in of_kind.items()}
        passes = len(scored)
        assert metrics.compute() == values[case]
        assert {name: metric.compute() for name, metric in metrics.items(copy_state=False)} == values[case]
        assert next(iter(metrics.values(copy_state=False)))._is_synced is False
        assert len(scored) == passes  # nothing was scored again
    values |= values_of_odd_data(batch, rank, world_size, group)
    values["again"], values["under another table"] = metrics.compute_under([None, Table()])
    if rank == 0:  # the others know the values, but must not leave this process alone
        metrics.update(**batch)
    values["after an update"] = metrics.compute()
    single = CoherentScore(10, process_group=group)
    feed(single, batch, share(batch, rank, world_size), 100)
    values["queries"] = single.per_query()
    values["single"] = {"single": single.compute()}
    assert all(map(torch.equal, single.per_query().values(), values["queries"].values()))
    curves = RetrievalMetrics(process_group=group)
    feed(curves, batch, share(batch, rank, world_size), 100)
    values["curves"] = {name: curve.relevance for name, curve in curves.relevance_by_rank(20).items()}
    return values


def values_of_odd_data(batch, rank, world_size, group):
    """Strings, distractors on every process, a part of the data set, and ids that restart on every process."""
    images = share(batch, rank, world_size)
    named = {
        name: [f"{number}.jpg" for number in rows.tolist()] for name, rows in batch.items() if name.endswith("ids")
    }
    texts = torch.isin(batch["text_image_ids"], batch["image_ids"][images]).nonzero()[:, 0]
    strings = RetrievalMetrics(rank_statistics=True, process_group=group)
    strings.update(
        batch["image_embeds"][images],
        torch.cat([batch["text_embeds"][texts], -batch["text_embeds"][:9]]),
        [named["image_ids"][image] for image in images],
        [named["text_image_ids"][text] for text in texts] + [-1] * 9,
        text_ids=[named["text_ids"][text] for text in texts] + [f"alone {number}" for number in range(9)],
        text_features=torch.cat([batch["text_features"][texts], batch["text_features"][:9]]),
    )
    values = {"strings": strings.compute()}
    part, nothing = (RetrievalMetrics((1,), (), (), process_group=group, folds=7) for _ in range(2))
    feed(part, batch, images, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (values["part"],) = part.compute_under([None], partial=True)
        assert nothing.compute_under([None], partial=True) == [{}]
    # Each process numbers its images from 0.
    restarting = RecallAtK(process_group=group)
    for start in (0, 100) if world_size == 1 else (100 * rank,):
        embeds = batch["image_embeds"][start : start + 20 * (rank < 2)]
        restarting.update(embeds, embeds, range(len(embeds)), range(len(embeds)))
    try:
        restarting.compute()
    except ValueError as error:
        values["restarting ids"] = {"refused": torch.tensor("one id must mean one image" in str(error))}
    return values


def inexact(images, texts):
    """Scores whose last bits depend on the shape of the block, as those of real products may."""
    scores = torch.nn.functional.normalize(images, dim=1) @ torch.nn.functional.normalize(texts, dim=1).T
    return scores * (1 + 1e-6 * (len(texts) % 7))


def work(rank, world_size, rendezvous, input_file, output_file):
    """Run as this process; the first saves what all found and how many pairs they scored."""
    distributed.init_process_group(
        "gloo", f"file://{rendezvous}", timedelta(seconds=60), world_size=world_size, rank=rank
    )
    torch.set_num_threads(1)
    scored = []
    score = PairScores._score
    PairScores._score = lambda *inputs: scored.append(len(inputs[1])) or score(*inputs)
    batch = torch.load(input_file)
    found = [values_of_all(batch, scored, rank, world_size)]
    rows = sum(scored)
    pair = distributed.new_group([0, 1])
    if rank < 2:
        found.append(values_of_all(batch, scored, rank, 2, pair))
    everywhere = [None] * world_size
    distributed.all_gather_object(everywhere, (found, rows))
    if rank == 0:
        torch.save(everywhere, output_file)
    distributed.destroy_process_group()


if __name__ == "__main__":
    work(*arguments)  # noqa: F821  given by runpy
