"""How the pages look in a browser, where there is one."""

import shutil
import subprocess

import numpy as np
import pytest
import torch

from tests.pages.test_evaluation_page import RESULTS, run
from vse_lightning.callbacks import RetrievalGallery
from vse_lightning.pages.evaluation_page import evaluation_page
from vse_lightning.pages.items import Items

Image = pytest.importorskip("PIL.Image")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
OFFLINE = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
LIGHT, DARK = (245, 246, 248), (15, 18, 23)


@pytest.fixture
def screenshot(tmp_path):
    if BROWSER is None:
        pytest.skip("no chromium is installed")

    def take(page, width, *, dark):
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *OFFLINE]
        options += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},3000"]
        options += [
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--screenshot={tmp_path / 'shot.png'}",
        ]
        subprocess.run([BROWSER, *options, page.as_uri()], check=True, capture_output=True, timeout=120)
        return np.asarray(Image.open(tmp_path / "shot.png").convert("RGB"))

    return take


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_gallery_fits_the_window_in_its_colours(write_page, screenshot, width, dark):
    first, _, _ = write_page(RetrievalGallery(queries=1, top_k=3), folder="first", seed=1)
    gallery, _, _ = write_page(RetrievalGallery(queries=1, top_k=3, compare_to=first.path.with_suffix(".npz")))
    check(screenshot(gallery.path, width, dark=dark), width, dark)


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_evaluation_fits_the_window_in_its_colours(screenshot, tmp_path, width, dark):
    floors = {"random": {"i2t_ndcg_at_10": 0.12345}, "ideal": {"i2t_ndcg_at_10": 1.0}}
    results = {f"{model}, trained for a long time": of for model, of in RESULTS.items()}
    results |= {f"model-{number}": RESULTS["ours"] for number in range(2)}
    runs = [run(model, [1, 2, 3]) for model in results]
    page = evaluation_page(results, baselines=floors, runs=runs, items=Items(["a dog runs"] * 3, torch.arange(3)))
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    check(screenshot(tmp_path / "page.html", width, dark=dark), width, dark)


def check(shot, width, dark):
    assert shot.shape == (3000, width, 3)
    background = np.array(DARK if dark else LIGHT)
    for edge in (shot[:, :8], shot[:, -8:]):  # nothing sticks out of the window
        assert abs(edge - background).max() <= 6  # but the shadows
    assert (shot != background).any(axis=2).mean() > 0.2
