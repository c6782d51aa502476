"""Embeddings and their ids on disk: shards that each process writes as it goes, read back as one.

A folder holds, for each process, ``rank0of2-00000.safetensors``, ``rank0of2-00001.safetensors`` and so on (or as many
``.npy`` files as there are arrays, ``rank0of2-00000.image_embeds.npy``), and ``rank0of2.json``, which lists the shards
and is written last: a process without one did not finish.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from vse_lightning.array_files import as_tensor, map_npy
from vse_lightning.checks import require
from vse_lightning.digests import file_digest
from vse_lightning.functional.similarity import unit_length
from vse_lightning.paths import existing_path
from vse_lightning.ranking.gallery import SAME, first_of_each
from vse_lightning.whole_files import WRITING, whole_file, whole_files

FileFormat = Literal["safetensors", "npy"]
Rows = Mapping[str, Tensor]

OF_IMAGES = ("image_embeds", "image_ids")
OF_TEXTS = ("text_embeds", "text_image_ids", "text_ids")
OPTIONAL = "text_ids"


class ShardWriter:
    """Writes the rows of one of ``world_size`` processes; a shard is complete under its name, or not there.

    A shard is written as soon as it has ``rows_per_shard`` rows, images and texts together.

    Attributes:
        images: rows of images so far.
        texts: rows of texts so far.
    """

    def __init__(self, folder: Path, file_format: FileFormat, rows_per_shard: int, rank: int, world_size: int) -> None:
        self.folder, self.file_format, self.rows_per_shard = folder, file_format, rows_per_shard
        self.images = self.texts = 0
        self._name = f"rank{rank}of{world_size}"
        self._names: list[str] = []
        self._shards: dict[str, dict[str, str]] = {}  # the SHA-256 of each file of each
        self._waiting: list[dict[str, Tensor]] = []
        self._rows_waiting = 0

    def add(self, rows: Rows) -> None:
        """Take the rows of a batch, and write a shard if there are enough.

        Args:
            rows: ``image_embeds (N, D)``, ``text_embeds (M, D)``, ``image_ids (N,)``, ``text_image_ids (M,)`` and,
                in all batches or in none, ``text_ids (M,)``.

        Raises:
            ValueError: if an embedding has no id or is not finite, or other batches had other ids.
        """
        named = {name: rows[name].detach().cpu() for name in (*OF_IMAGES, *OF_TEXTS) if name in rows}
        counts = {name: len(tensor) for name, tensor in named.items()}
        for names in (OF_IMAGES, OF_TEXTS):
            different = len({counts[name] for name in names if name in counts}) > 1
            require(not different, "there must be one id for each embedding, got rows {}", counts)
            self._require_finite(*names[:2], named)
        self._names = self._names or list(named)
        as_before = self._names == list(named)
        require(as_before, "text_ids must be in all batches or in none, got a batch with {}", ", ".join(named))
        self._waiting.append(named)
        self._rows_waiting += counts["image_embeds"] + counts["text_embeds"]
        self.images += counts["image_embeds"]
        self.texts += counts["text_embeds"]
        if self._rows_waiting >= self.rows_per_shard:
            self._write_shard()

    def _require_finite(self, name: str, of_ids: str, rows: Rows) -> None:
        bad = ~rows[name].isfinite().all(dim=1)
        ids = rows[of_ids][bad].tolist()
        message = "{} must be finite to be written, got NaN or infinity for {} of {} rows, {} {}"
        require(not ids, message, name, len(ids), len(bad), of_ids, ", ".join(map(str, ids[:5])))

    def close(self) -> None:
        """Write what is left, and the list of the shards."""
        if self._waiting:
            self._write_shard()
        content = {"images": self.images, "texts": self.texts, "shards": self._shards}
        with whole_file(self.folder / f"{self._name}.json") as path:
            path.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _write_shard(self) -> None:
        rows = {name: torch.cat([batch[name] for batch in self._waiting]) for name in self._names}
        shard = f"{self._name}-{len(self._shards):05d}"
        with whole_files(self.folder) as folder:
            _save(folder, shard, self.file_format, rows)
            self._shards[shard] = {path.name: file_digest(path) for path in folder.iterdir()}
        self._waiting, self._rows_waiting = [], 0


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of images and texts, each once, in the order of their ids.

    Attributes:
        image_embeds: ``(N, D)``.
        text_embeds: ``(M, D)``.
        image_ids: ``(N,)`` ascending.
        text_image_ids: ``(M,)`` the image that each text describes.
        text_ids: ``(M,)`` ascending, if the module that embedded them had any; otherwise texts are in the order of
            their images.
    """

    image_embeds: Tensor
    text_embeds: Tensor
    image_ids: Tensor
    text_image_ids: Tensor
    text_ids: Tensor | None


def read_embeddings(folder: Path) -> Embeddings:
    """Read what all processes wrote; rows whose id came before are left out.

    Raises:
        FileNotFoundError: if a shard is missing.
        ValueError: if a process did not finish, a shard is damaged, or one id has different embeddings.
    """
    folder = existing_path("folder", folder)
    shards = [_load(folder, shard, digests) for shard, digests in _shards(folder)]
    require(bool(shards), "{} must hold embeddings, got no rows", folder)
    rows = {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}
    images = _first_rows(folder, "image_ids", rows["image_ids"], rows["image_embeds"])
    if OPTIONAL in rows:
        texts = _first_rows(folder, OPTIONAL, rows[OPTIONAL], rows["text_embeds"])
    else:
        texts = rows["text_image_ids"].argsort(stable=True)
    alone = rows["text_image_ids"][~torch.isin(rows["text_image_ids"], rows["image_ids"])][:1].tolist()
    require(not alone, "{}: text_image_ids must be among the image_ids, got {} without an image", folder, *alone)
    return Embeddings(
        **{name: rows[name][images] for name in OF_IMAGES},
        **{name: rows[name][texts] if name in rows else None for name in OF_TEXTS},  # type: ignore[arg-type]
    )


def files_of_embeddings(folder: Path) -> list[Path]:
    """What processes wrote into a folder and its subfolders, finished or not."""
    found = (path for path in folder.rglob("rank*of*") if re.match(r"rank\d+of\d+[-.]", path.name))
    return sorted(path for path in found if WRITING not in str(path.relative_to(folder)))


def _save(folder: Path, shard: str, file_format: FileFormat, rows: Rows) -> None:
    if file_format == "safetensors":
        from safetensors.torch import save_file

        save_file(dict(rows), folder / f"{shard}.safetensors")
        return
    for name, tensor in rows.items():
        array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # NumPy has no bfloat16
        np.save(folder / f"{shard}.{name}.npy", array, allow_pickle=False)


def _load(folder: Path, shard: str, digests: Mapping[str, str]) -> dict[str, Tensor]:
    for file, sha256 in digests.items():
        same = file_digest(folder / file) == sha256
        require(same, "{} is damaged: its checksum differs from the one that was written with it", folder / file)
    if f"{shard}.safetensors" in digests:
        from safetensors.torch import load_file

        return load_file(folder / f"{shard}.safetensors")
    paths = {name: folder / f"{shard}.{name}.npy" for name in (*OF_IMAGES, *OF_TEXTS)}
    return {name: as_tensor(map_npy(path), str(path)) for name, path in paths.items() if path.name in digests}


def _shards(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The shards of all processes in their order, and the SHA-256 of each file of each."""
    paths = {path.stem: path for path in folder.glob("rank*of*.json")}
    started = {path.name.replace(".", "-").split("-")[0] for path in files_of_embeddings(folder)}
    sizes = {int(name.partition("of")[2]) for name in started}
    message = "{} must hold embeddings of one run of predict, got files of {}"
    require(len(sizes) == 1, message, folder, " and ".join(sorted(started)) or "none")
    (size,) = sizes
    names = [f"rank{rank}of{size}" for rank in range(size)]
    missing = [f"{name}.json" for name in names if name not in paths]
    require(not missing, "{} holds embeddings of a run that did not finish: there is no {}", folder, ", ".join(missing))
    for name in names:
        yield from _listed(paths[name]).items()


def _listed(index: Path) -> dict[str, dict[str, str]]:
    try:
        shards: dict[str, dict[str, str]] = json.loads(index.read_text(encoding="utf-8"))["shards"]
        names = [*shards, *(file for files in shards.values() for file in files)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{index} must be a list of shards that predict wrote, and whole, which it is not") from error
    strange = [name for name in names if not re.fullmatch(rf"{index.stem}-\d+(\.\w+)*", name)]
    require(not strange, "{} must list the shards {}-00000 and so on, got {!r}", index, index.stem, *strange[:1])
    return shards


def _first_rows(folder: Path, name: str, ids: Tensor, embeds: Tensor) -> Tensor:
    """The row in which each id comes first, by ascending id."""
    first = first_of_each(ids)
    place = torch.searchsorted(ids[first], ids)
    repeated = (first[place] != torch.arange(len(ids))).nonzero().flatten()
    again, before = (unit_length(embeds[rows].float()) for rows in (repeated, first[place[repeated]]))
    same = cosine_similarity(again, before) >= SAME
    differing = ids[repeated][~same].tolist()
    message = "{}: rows with one id must have one embedding, but those of {} {} differ: do batches number anew?"
    require(not differing, message, folder, name, *differing[:1])
    return first
