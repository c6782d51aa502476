"""The index: embeddings of pictures and captions, and what is needed to show them, in one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from vse_lightning.checks import is_own, require
from vse_lightning.paths import existing_path
from vse_lightning.whole_files import whole_file

FORMAT = "vse_lightning search index 1"


@dataclass(frozen=True)
class SearchIndex:
    """What a model made of a collection of pictures, and of captions if it has any.

    Attributes:
        image_embeds: ``(N, D)`` float32, as the model gives them.
        text_embeds: ``(M, D)`` float32; no rows where there are no captions.
        text_image_rows: ``(M,)`` int64, the row of the picture that each caption describes.
        names: of the pictures.
        captions: one for each row of ``text_embeds``.
        thumbnails: all JPEG files behind each other, uint8; empty where the collection has features.
        thumbnail_ends: ``(N,)`` int64, where each of them ends.
        origin: of what this is an index.
        model: name of the class of the model.
        checkpoint: path of the model's file.
        checkpoint_sha256: of that file.
    """

    image_embeds: Tensor
    text_embeds: Tensor
    text_image_rows: Tensor
    names: list[str]
    captions: list[str]
    thumbnails: Tensor
    thumbnail_ends: Tensor
    origin: str
    model: str
    checkpoint: str
    checkpoint_sha256: str

    def thumbnail(self, row: int) -> bytes:
        """The small JPEG of a picture; empty where the collection has features."""
        start = int(self.thumbnail_ends[row - 1]) if row else 0
        return self.thumbnails[start : int(self.thumbnail_ends[row])].numpy().tobytes()

    def captions_of(self, row: int) -> list[str]:
        """The captions of a picture."""
        return [self.captions[text] for text in self._texts_of_rows.get(row, [])]

    @cached_property
    def _texts_of_rows(self) -> dict[int, list[int]]:
        texts: dict[int, list[int]] = {}
        for text, row in enumerate(self.text_image_rows.tolist()):
            texts.setdefault(row, []).append(text)
        return texts

    def save(self, path: Path) -> None:
        """Write the file, as a whole or not at all."""
        from safetensors.torch import save_file

        about = {"origin": self.origin, "model": self.model, "checkpoint": self.checkpoint}
        about |= {"format": FORMAT, "checkpoint_sha256": self.checkpoint_sha256}
        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        # not among the metadata, which may be 100 MB at most
        tensors |= {name: _as_bytes(getattr(self, name)) for name in _LISTS}
        with whole_file(path) as written:
            save_file(tensors, written, {**about, "sha256": _digest(tensors, about)})

    @classmethod
    def load(cls, path: str | Path) -> SearchIndex:
        """Open an index, and check that it is whole.

        Raises:
            FileNotFoundError: there is nothing at ``path``.
            ValueError: the file is damaged, or no index.
        """
        from safetensors import SafetensorError, safe_open

        found = existing_path("--index", path)
        try:
            with safe_open(found, framework="pt") as file:
                about = file.metadata() or {}
                require(about.get("format") == FORMAT, "it must be a {!r}", FORMAT)
                tensors = {name: file.get_tensor(name) for name in _TENSORS}
                tensors |= {name: file.get_tensor(name) for name in _LISTS}
            sha256 = about.pop("sha256", None)
            require(sha256 == _digest(tensors, about), "it is damaged, since its checksum differs")
            lists = {name: json.loads(tensors.pop(name).numpy().tobytes()) for name in _LISTS}
        except (OSError, SafetensorError, ValueError) as error:
            remedy = "--force makes it again" if is_own(found, FORMAT) else "give another --index"
            raise ValueError(f"--index {found} cannot be used: {error}; {remedy}") from error
        del about["format"]
        return cls(**tensors, **lists, **about)

    def check_checkpoint(self, checkpoint: Path, sha256: str) -> None:
        """Embeddings of one model mean nothing to another.

        Raises:
            ValueError: the checkpoint is not the one that the index was made with.
        """
        require(
            sha256 == self.checkpoint_sha256,
            "--index was made with another checkpoint, {} (sha256 {}...), got {} ({}...): search with the first, or "
            "index again with --force",
            self.checkpoint,
            self.checkpoint_sha256[:8],
            checkpoint,
            sha256[:8],
        )

    def check_folder(self, folder: Path) -> None:
        """What is found shall be what was asked for.

        Raises:
            ValueError: this is an index of something else.
        """
        message = "--index holds {}, not --images {}: give another --index, or --force to replace it"
        require(str(folder) == self.origin, message, self.origin, folder)


_TENSORS = ("image_embeds", "text_embeds", "text_image_rows", "thumbnails", "thumbnail_ends")
_LISTS = ("names", "captions")


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """SHA-256 of all that an index holds, in whichever order."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _as_bytes(texts: Sequence[str]) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(texts), "ascii"), dtype=torch.uint8)
