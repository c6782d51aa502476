"""The embedded data set: scenes of coloured shapes, five captions each, and their relevance to one another."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vse_lightning.argument_types import typed
from vse_lightning.checks import require_extra, require_whole
from vse_lightning.data.sources.image_text_source import ImageTextSource
from vse_lightning.data.sources.shapes.scene import Scene, draw_scene, sample_scene, scene_attributes
from vse_lightning.data.sources.shapes.scene_captions import write_captions
from vse_lightning.relevance import RelevanceTable
from vse_lightning.relevance._caption_index import CaptionIndex, device_of
from vse_lightning.targets import Ids

if TYPE_CHECKING:
    from PIL.Image import Image


class ShapesSource(ImageTextSource):
    """Scenes of one to three coloured shapes with five captions each and known graded relevance, made in seconds.

    For a quickstart, examples and tests: no download, no files. Captions differ in wording and in what they leave out,
    as people's do, and no two scenes are the same, so an almost right caption exists for every picture. Eight colours,
    eight shapes, two sizes, nine places and five backgrounds make about 10^9 scenes. Results on it say that code works,
    not that a method is better: use real data for that.

    The first 80 % of the images are the split ``train``, the next 10 % ``val``, the rest ``test``. The same arguments
    give the same data on every machine, and a larger ``num_images`` starts with the same scenes.

    Args:
        num_images: number of scenes, at least 10.
        image_size: width and height of a picture in pixels, at least 32.
        seed: another seed gives other scenes.

    Attributes:
        scenes: what is in each image.
    """

    @typed
    def __init__(self, num_images: int = 3000, image_size: int = 64, seed: int = 0) -> None:
        require_extra("ShapesSource", "data", "PIL")
        require_whole("num_images", num_images, least=10)
        require_whole("image_size", image_size, least=32)
        self.image_size = image_size
        self.seed = seed
        self.scenes: list[Scene] = []
        captions: list[str] = []
        seen: set[frozenset[str]] = set()
        for image_id in range(num_images):
            random = self._random("scene", image_id)
            scene = sample_scene(random)
            while frozenset(scene_attributes(scene)) in seen:
                scene = sample_scene(random)
            seen.add(frozenset(scene_attributes(scene)))
            self.scenes.append(scene)
            captions += write_captions(scene, random)
        train, val = num_images * 8 // 10, num_images * 9 // 10
        ids = torch.arange(num_images)
        super().__init__(
            captions,
            text_image_ids=ids.repeat_interleave(5),
            splits={"train": ids[:train], "val": ids[train:val], "test": ids[val:]},
            num_images=num_images,
        )

    def load_image(self, image_id: int) -> Image:
        """Draw one scene, the same each time."""
        return draw_scene(self.scenes[image_id], self.image_size, self._random("picture", image_id))

    def relevance_table(self) -> RelevanceTable:
        """The share of attributes that two scenes have in common, see ``SceneTable``."""
        return SceneTable([scene_attributes(scene) for scene in self.scenes], self.text_image_ids)

    def _random(self, purpose: str, image_id: int) -> Random:
        return Random(f"{self.seed}/{image_id}/{purpose}")  # noqa: S311  # reproducible, not secret


class SceneTable(RelevanceTable):
    r"""Relevance of a scene to a caption: the share of attributes that the scene and the caption's own scene share.

    .. math:: r(a, b) = \frac{|A_a \cap A_b|}{|A_a \cup A_b|}

    * :math:`A_s`: the attributes of scene :math:`s`, as :func:`.scene_attributes` lists them: background,
      number of things, and of each thing size, colour, shape, row, column, colour and shape.

    What the caption leaves out does not matter: all captions of a scene have the same relevance, 1 to their own scene
    and less than 1 to every other; ``captions_per_image`` changes nothing.
    """

    label = "scene attributes"
    _index: CaptionIndex

    def __init__(self, attributes: Sequence[AbstractSet[str]], text_image_ids: Tensor) -> None:
        columns = {attribute: column for column, attribute in enumerate(sorted(set().union(*attributes)))}
        self._has = torch.zeros(len(attributes), len(columns))
        for row, attributes_of_scene in enumerate(attributes):
            self._has[row, [columns[attribute] for attribute in attributes_of_scene]] = 1.0
        self._index = CaptionIndex(text_image_ids, rows=text_image_ids)

    def block(self, image_ids: Ids, text_ids: Ids, captions_per_image: int | None = None) -> Tensor:
        """Relevance ``(N, M)`` of images to texts; see :meth:`RelevanceTable.block`."""
        rows = self._index.find(image_ids, text_ids, captions_per_image)
        images, texts = self._has[rows.references[:, 0]], self._has[rows.texts]
        shared = images @ texts.T
        return (shared / (images.sum(1, keepdim=True) + texts.sum(1) - shared)).to(device_of(image_ids))
