"""How the page looks in a browser, where there is one."""

import shutil
import subprocess

import numpy as np
import pytest

from vse_lightning.callbacks import RetrievalGallery

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
def test_page_fits_the_window_in_its_colours(write_page, screenshot, width, dark):
    first, _, _ = write_page(RetrievalGallery(queries=1, top_k=3), folder="first", seed=1)
    gallery, _, _ = write_page(RetrievalGallery(queries=1, top_k=3, compare_to=first.path.with_suffix(".npz")))
    shot = screenshot(gallery.path, width, dark=dark)
    assert shot.shape == (3000, width, 3)
    background = np.array(DARK if dark else LIGHT)
    for edge in (shot[:, :8], shot[:, -8:]):  # nothing sticks out of the window
        assert abs(edge - background).max() <= 6  # but the shadows
    assert (shot != background).any(axis=2).mean() > 0.2
