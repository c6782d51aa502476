"""Folders that predict wrote as models."""

import pytest
import torch

from vse_lightning.embedding_files import ShardWriter


@pytest.fixture
def folder(outputs):
    """Two processes that had every other image, the second one the first image again."""

    def write(image_ids=outputs.image_ids, text_image_ids=outputs.text_image_ids):
        for rank in range(2):
            images = torch.arange(rank, len(image_ids), 2)
            images = torch.cat([images, torch.tensor([0])]) if rank else images
            texts = torch.isin(text_image_ids, image_ids[images]).nonzero().flatten().flip(0)
            shards = ShardWriter(outputs.folder / "embeddings", "npy", 7, rank, world_size=2)
            for part in (slice(None, 3), slice(3, None)):
                of_images, of_texts = images[part], texts[part]
                shards.add(
                    {
                        "image_embeds": torch.from_numpy(outputs.images)[of_images],
                        "image_ids": image_ids[of_images],
                        "text_embeds": torch.from_numpy(outputs.texts)[of_texts],
                        "text_image_ids": text_image_ids[of_texts],
                        "text_ids": outputs.text_ids[of_texts],
                    }
                )
            shards.close()
        return outputs.folder / "embeddings"

    (outputs.folder / "embeddings").mkdir()
    return write


@pytest.fixture
def lines(outputs):
    path = outputs.folder / "captions.txt"
    path.write_text("\n".join(outputs.texts_of_file[row] for row in outputs.text_ids.tolist()) + "\n")
    return path


def test_rows_go_by_their_ids(outputs, folder, lines, evaluate, values_of):
    pytest.importorskip("sklearn")
    model = folder()
    expected = pytest.approx({name: float(value) for name, value in outputs.metrics().compute().items()})
    results = evaluate(model)
    assert values_of(results, "embeddings") == expected
    assert (results["captions"], results["images"]) == ("captions without text", 12)
    results = evaluate(f"ours={model}", f"same={outputs.save()}", "--captions", outputs.captions)
    assert values_of(results, "ours") == values_of(results, "same") == expected
    results = evaluate(model, outputs.save(), "--captions", lines, "--labels", "cider")
    assert values_of(results, "embeddings") == values_of(results) != expected
    assert results["labels"][""].endswith("as there is no train split (24 captions)")


def test_ids_must_be_those_of_the_captions(outputs, folder, lines, evaluate):
    model = folder()
    with pytest.raises(ValueError, match=r"image ids must be the row numbers of the 3 images.*was another split"):
        evaluate(model, "--captions", outputs.captions, "--split", "val")
    with pytest.raises(ValueError, match=r"differ from caption \d+ on"):
        evaluate(model, "--captions_per_image", "2")
    lines.write_text("one line\n")
    with pytest.raises(ValueError, match="a line for each of the 24 captions that were embedded, got 1"):
        evaluate(model, "--captions", lines)
    with pytest.raises(ValueError, match="none for a folder that predict wrote"):
        evaluate(outputs.save())
