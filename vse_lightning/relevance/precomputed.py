"""Relevance by features that the user brings."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require, require_one_of
from vse_lightning.paths import existing_path
from vse_lightning.relevance.feature_table import FeatureTable, check_rescale, map_features
from vse_lightning.relevance.relevance_source import RelevanceSource, read_captions
from vse_lightning.targets import Ids

OF_SIDE = {"text": "caption", "image": "image"}


class PrecomputedRelevance(RelevanceSource):
    """Relevance by vectors of your own: any text encoder's, or any picture encoder's.

    The file is mapped into memory, never loaded whole. The vectors need not be of length 1: cosines are used.

    Args:
        path: an ``.npy`` file of shape (rows, dimensions), floating point; ``${NAME}`` is an environment variable.
        side: ``text``: one row per caption of the whole data set, in its order (``text_id`` is the row); the relevance
            is the best cosine between the text and the captions of the image. ``image``: one row per image
            (``image_id`` is the row); the relevance is the cosine between the image and the image that the text
            describes, as ITM_CLS offers.
        rescale: ``clip`` for max(cosine, 0), ``shift`` for (1 + cosine) / 2 as in Listwise_ITR.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no such array, or ``side`` or ``rescale`` is unknown.
    """

    @typed
    def __init__(self, path: str | Path, side: str = "text", rescale: str = "clip") -> None:
        require_one_of("side", side, tuple(OF_SIDE))
        self.path = path
        self.side = side
        self.rescale = check_rescale(rescale)
        self.name = f"precomputed {Path(path).name}"
        self._map()

    def check_size(self, num_captions: int, num_images: int) -> None:
        """Raise a ``ValueError`` unless the file has one row per caption, or image, of the whole data set."""
        path, features = self._map()
        needed = num_captions if self.side == "text" else num_images
        message = "path must have one row for each of the {} {} of the data set, got {} rows in {}"
        require(len(features) == needed, message, needed, OF_SIDE[self.side] + "s", len(features), path)

    def table(self, captions: Sequence[str], image_ids: Ids, text_ids: Ids | None = None) -> FeatureTable:
        """The table for these captions; see :meth:`RelevanceSource.table`.

        Raises:
            ValueError: if the file has too few rows, or NaN or infinite values in the rows of these captions. Without
                ``text_ids`` the captions are the whole data set, and the number of rows must be theirs.
        """
        _, images, texts = read_captions(captions, image_ids, text_ids)
        path, features = self._map()
        if texts is None:
            self.check_size(len(captions), 1 + int(images.max()))
            texts = torch.arange(len(captions))
        rows = texts if self.side == "text" else images
        outside = ((rows < 0) | (rows >= len(features))).nonzero().flatten()
        if len(outside):
            ids = text_ids if self.side == "text" and text_ids is not None else image_ids
            raise ValueError(
                f"path must have a row for every {OF_SIDE[self.side]} of the data set, with the id as its number, got "
                f"{len(features)} rows in {path} and the id {ids[int(outside[0])]}"
            )
        table = FeatureTable if self.side == "text" else PictureTable
        return table(path, image_ids, text_ids, rows, label=self.name, rescale=self.rescale)

    def _map(self) -> tuple[Path, Tensor]:
        path = existing_path("path", self.path)
        require(path.is_file(), "path must be an .npy file, got the folder {}", path)
        try:
            features = map_features(path)
        except ValueError as error:
            raise ValueError(f"path must be an .npy file of floating-point numbers, got {path} ({error})") from error
        message = "path must hold a floating-point array (rows, dimensions), got {} {} in {}"
        fits = features.ndim == 2 and features.is_floating_point()
        require(fits, message, features.dtype, tuple(features.shape), path)
        return path, features


class PictureTable(FeatureTable):
    """A table whose captions have the features of their image: one of them says all."""

    def block(self, image_ids: Ids, text_ids: Ids, captions_per_image: int | None = None) -> Tensor:
        """Relevance ``(N, M)`` of images to the images that the texts describe, whatever ``captions_per_image``."""
        return super().block(image_ids, text_ids, captions_per_image=1)
