"""The four ways to rank: across the modalities, and within one."""

from typing import Literal, get_args

Direction = Literal["i2t", "t2i", "i2i", "t2t"]
"""Image queries that rank texts, text queries that rank images, or either that ranks all others of its kind."""

ACROSS: tuple[Direction, ...] = ("i2t", "t2i")
WITHIN: tuple[Direction, ...] = ("i2i", "t2t")


def check_direction(direction: str, matches: bool = False) -> None:
    """Refuse a name that is no direction, or one in which there are no ``matches`` if a metric counts them."""
    known = ("i2t", "t2i", "t2t") if matches else get_args(Direction)
    if direction not in known:
        reason = ", where no image matches another: NDCG and Coherent Score are graded" if direction == "i2i" else ""
        raise ValueError(f"direction must be one of {', '.join(known)}, got {direction!r}{reason}")
