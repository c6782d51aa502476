"""Known relevance of scenes to captions."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import torch
from torch import Tensor

from vse_lightning.relevance import RelevanceTable
from vse_lightning.relevance._caption_index import CaptionIndex, device_of
from vse_lightning.targets import Ids


class SceneTable(RelevanceTable):
    r"""Relevance of a scene to a caption: the share of attributes that the scene and the caption's own scene share.

    .. math:: r(a, b) = \frac{|A_a \cap A_b|}{|A_a \cup A_b|}

    * :math:`A_s`: the attributes of scene :math:`s`, as :func:`.scene_attributes` lists them: background,
      number of things, and of each thing size, colour, shape, row, column, colour and shape.

    What the caption leaves out does not matter: all captions of a scene have the same relevance, 1 to their own scene
    and less than 1 to every other; ``captions_per_image`` changes nothing.

    Args:
        attributes: the attributes of each scene; row = ``image_id``.
        text_image_ids: ``(number of captions,)`` int64; row = ``text_id``.
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
