"""Numbers with intervals for embeddings from anywhere: python examples/evaluate_embeddings.py

All that is needed are two arrays, and ids that say which text describes which image. Here they come from two small
regressions from pixels to words. For embeddings in files there is a command: vse-lightning evaluate --help
"""

import torch
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.transforms.functional import to_tensor

from vse_lightning import CoherentScore, RecallAtK, RetrievalNDCG, RSum
from vse_lightning.data import ShapesSource
from vse_lightning.functional import bootstrap_interval, paired_randomization_test


def pixels(source, image_ids, size):
    """Pictures shrunk to a few pixels: (N, 3 * size * size)."""
    pictures = torch.stack([to_tensor(source.load_image(image)) for image in image_ids.tolist()])
    return adaptive_avg_pool2d(pictures, size).flatten(1)


def words(source, text_ids, vocabulary):
    """Which words each caption has: (M, V)."""
    captions = [set(source.captions[text].split()) for text in text_ids.tolist()]
    return torch.tensor([[float(word in caption) for word in vocabulary] for caption in captions])


def embeddings(source, size):
    """Train a ridge regression from pixels to words, and embed the test split with it."""
    train, test = source.split("train"), source.split("test")
    vocabulary = sorted({word for text in source.text_ids(train).tolist() for word in source.captions[text].split()})
    of_image = torch.searchsorted(train, source.text_image_ids[source.text_ids(train)])
    inputs, targets = pixels(source, train, size)[of_image], words(source, source.text_ids(train), vocabulary)
    mean = targets.mean(dim=0)
    weights = torch.linalg.solve(inputs.T @ inputs + 10 * torch.eye(inputs.shape[1]), inputs.T @ (targets - mean))
    return pixels(source, test, size) @ weights, words(source, source.text_ids(test), vocabulary) - mean


def main() -> None:
    source = ShapesSource(num_images=1500, image_size=32)
    models = {f"{size} x {size} pixels": embeddings(source, size) for size in (1, 3)}

    # Which image each text describes; the ids may be any integers.
    image_ids = source.split("test")
    text_ids = source.text_ids(image_ids)
    text_image_ids = source.text_image_ids[text_ids]

    # Graded labels: those that the data knows, or a table made from captions by a source of vse_lightning.relevance.
    labels = source.relevance_table()
    metrics = [RecallAtK(5, "i2t"), RecallAtK(5, "t2i"), RSum()]
    metrics += [
        metric(10, direction, relevance=labels)
        for metric in (RetrievalNDCG, CoherentScore)
        for direction in ("i2t", "t2i")
    ]

    print(f"{len(image_ids)} images, {len(text_ids)} captions, relevance: {labels.label}; * p < 0.05 against the first")
    for metric in metrics:
        first = None
        for name, (image_embeds, text_embeds) in models.items():
            metric.reset()
            metric.update(image_embeds, text_embeds, image_ids, text_image_ids, text_ids=text_ids)
            # Captions of one image are no independent queries: draw and swap whole images.
            values = metric.per_query()
            groups = {side: {"i2t": image_ids, "t2i": text_image_ids}[side] for side in values}
            low, high = bootstrap_interval(values, groups)
            star = " *" if first and paired_randomization_test(first, values, groups) < 0.05 else ""
            first = first or values
            print(f"{metric.name:27} {name:14} {metric.compute():8.3f} [{low:.3f}, {high:.3f}]{star}")


if __name__ == "__main__":
    main()
