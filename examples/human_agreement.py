"""Ratings of people for `evaluate --judgements`: python examples/human_agreement.py [RATINGS SPLIT.json [PEOPLE.csv]]

Converts the public ratings of image-caption pairs into a table with the columns image (file name), sentid and rating,
by the Karpathy split file that has their captions; its sentences must be in the order of the data set's own numbers.
RATINGS, told apart by what they hold:

- Flickr8k, experts (`ExpertAnnotations.txt`): `IMAGE <TAB> IMAGE#NUMBER <TAB> 1..4 <TAB> 1..4 <TAB> 1..4`, without a
  line of names. Three judges: three rows a pair. 1 says that the caption has nothing to do with the picture, 4 that it
  describes it without errors.
- Flickr8k, crowd (`CrowdFlowerAnnotations.txt`): `IMAGE <TAB> IMAGE#NUMBER <TAB> SHARE <TAB> YES <TAB> NO`. One row a
  pair, the share of those who said yes.
- Crisscrossed Captions, SITS (`sits_val.csv`, `sits_test.csv`): `caption,image,agg_score,sampling_method`, as in
  `COCO_val2014:sentid:648388,COCO_val2014_000000431431.jpg,1.8,c2i_intrasim`. 0 to 5, a row a rating.
- Crisscrossed Captions, STS (`sts_val.csv`): `caption1,caption2,agg_score,sampling_method`, two captions. The first is
  rated against the image of the second.

Then, with `--split val` for the ratings of that split:

    vse-lightning evaluate MODEL.npz --captions SPLIT.json --judgements PEOPLE.csv --labels sbert --labels cider

Without RATINGS it does so with a few pairs made up for the occasion.
"""

import csv
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vse_lightning.cli import main as vse_lightning

Row = tuple[str, int, float]
"""Image, caption and rating."""


def convert(ratings: Path, split_file: Path) -> list[Row]:
    """The rows of a file of ratings, of whichever of the four formats."""
    images = json.loads(split_file.read_text(encoding="utf-8"))["images"]
    lines = ratings.read_text(encoding="utf-8").splitlines()
    if "\t" in lines[0]:
        sentids = {image["filename"]: [sentence["sentid"] for sentence in image["sentences"]] for image in images}
        return list(of_flickr8k([line.split("\t") for line in lines], sentids))
    image_of = {sentence["sentid"]: image["filename"] for image in images for sentence in image["sentences"]}
    return list(of_crisscrossed(list(csv.reader(lines)), image_of))


def of_flickr8k(rows: list[list[str]], sentids: dict[str, list[int]]) -> Iterator[Row]:
    crowd = all(abs(float(share) * (int(yes) + int(no)) - int(yes)) < 0.05 for *_, share, yes, no in rows)
    for image, caption, *numbers in rows:
        name, _, number = caption.partition("#")
        for rating in numbers[:1] if crowd else numbers:
            yield image, sentids[name][int(number)], float(rating)


def of_crisscrossed(rows: list[list[str]], image_of: dict[int, str]) -> Iterator[Row]:
    for caption, other, rating, *_ in rows[1:]:
        _, is_caption, sentid = other.rpartition(":sentid:")
        yield image_of[int(sentid)] if is_caption else other, int(caption.rpartition(":")[2]), float(rating)


def write(rows: list[Row], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "sentid", "rating"), *rows])
    print(f"{path}: {len(rows):,} ratings")


def made_up(folder: Path) -> None:
    """Ratings as experts of Flickr8k give them, the captions that they are about, and embeddings of a model."""
    draw = np.random.default_rng(0)
    scenes = ["a brown dog runs", "two dogs play", "a red bus waits", "a blue bus leaves"]
    images = [
        {"filename": f"{row}.jpg", "split": "test", "sentences": [{"raw": text, "sentid": row}]}
        for row, text in enumerate(scenes)
    ]
    (folder / "split.json").write_text(json.dumps({"images": images}), encoding="utf-8")
    pairs = [(row, other) for row in range(4) for other in range(4)]
    alike = [(row, other, 4 if row == other else 2 if row // 2 == other // 2 else 1) for row, other in pairs]
    lines = [f"{row}.jpg\t{other}.jpg#0\t{best}\t{best}\t{max(1, best - 1)}" for row, other, best in alike]
    (folder / "ratings.txt").write_text("\n".join(lines), encoding="utf-8")
    embeds = np.eye(4) + np.kron(np.eye(2), np.ones((2, 2)))
    np.savez(folder / "model.npz", image_embeds=embeds + draw.normal(0, 0.2, (4, 4)), text_embeds=embeds)


def main() -> None:
    if len(sys.argv) > 2:
        write(convert(Path(sys.argv[1]), Path(sys.argv[2])), Path(sys.argv[3] if len(sys.argv) > 3 else "people.csv"))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made_up(folder)
        write(convert(folder / "ratings.txt", folder / "split.json"), folder / "people.csv")
        files = [str(folder / file) for file in ("model.npz", "split.json", "people.csv")]
        vse_lightning(["evaluate", files[0], "--captions", files[1], "--judgements", files[2], "--labels", "cider"])


if __name__ == "__main__":
    main()
