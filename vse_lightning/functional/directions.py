"""The four ways to rank: across the modalities, and within one."""

from typing import Literal

Direction = Literal["i2t", "t2i", "i2i", "t2t"]
"""Image queries that rank texts, text queries that rank images, or either that ranks all others of its kind."""

ACROSS: tuple[Direction, ...] = ("i2t", "t2i")
WITHIN: tuple[Direction, ...] = ("i2i", "t2t")
