"""Words of captions, as their readers see them: one rule for labels and vocabularies, and how to bring another."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from lightning.fabric.utilities import rank_zero_warn

Tokenizer = Callable[[str], Iterable[str]]
"""Splits a caption into words, such as ``jieba.lcut`` for Chinese; in a config, its import path."""

ASCII_WORD = re.compile(r"[a-z0-9']+")


def words_of(caption: str) -> list[str]:
    """Split a caption into lower-cased words.

    A word is a run of letters, digits, apostrophes and combining marks. In scripts without spaces (Chinese, Japanese,
    Thai, Lao, Khmer, Burmese, Tibetan and others) each character is one, with the vowel signs and tone marks that it
    carries; so is each emoji. What looks the same is the same: composed and decomposed accents (NFC), full-width,
    half-width and usual forms, curly and straight apostrophes inside words. Invisible characters do not count.

    Words of more than one character in those scripts need a dictionary: give labels and encoders such a ``tokenizer``.

    References:
        Unicode Standard Annexes 15 (NFC), 24 (scripts) and 29 (grapheme clusters).

    Example:
        >>> words_of("The dog's ball_2 is RED.")
        ['the', "dog's", 'ball', '2', 'is', 'red']
        >>> words_of("2只黑狗🐶")
        ['2', '只', '黑', '狗', '🐶']
        >>> words_of("काला कुत्ता"), words_of("สุนัข")
        (['काला', 'कुत्ता'], ['สุ', 'นั', 'ข'])
    """
    if caption.isascii():
        return ASCII_WORD.findall(caption.lower())
    patterns = _compiled_patterns()
    visible = patterns.lone_joiner.sub("", caption.translate(_LOOKS_LIKE))
    folded = unicodedata.normalize("NFC", visible.lower())
    return patterns.word.findall(patterns.inner_quote.sub("'", folded))


def splitter(tokenizer: Tokenizer | None) -> Callable[[str], list[str]]:
    """:func:`words_of`, or the user's tokenizer with a check of what it returns.

    Raises:
        ValueError: if it cannot be called; and, from the function returned, if it gives no words.
    """
    if tokenizer is None:
        return words_of
    if not callable(tokenizer):
        raise ValueError(f"tokenizer must be a function from a caption to its words, got {tokenizer!r}")
    return _CheckedTokenizer(tokenizer)


def warn_of_single_words(what: str, captions: Sequence[str], split: Callable[[str], list[str]]) -> None:
    """Warn, in the name of ``what`` learns from them, where every caption is a single word."""
    if len(captions) > 1 and all(len(split(caption)) <= 1 for caption in captions):
        rank_zero_warn(
            f"{what}: each of the {len(captions):,} captions is a single word, such as {captions[0]!r}. If they are "
            "sentences, give tokenizer= a function that splits them into words (for Chinese, jieba.lcut)"
        )


def tokenizer_name(tokenizer: Tokenizer | None) -> str | None:
    """What tells a tokenizer from others: its import path, or what it prints as; None is :func:`words_of`.

    Example:
        >>> tokenizer_name(str.split)
        'builtins.str.split'
    """
    if tokenizer is None:
        return None
    name = getattr(tokenizer, "__qualname__", None)
    if name is None:  # an object that can be called, such as a functools.partial
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(tokenizer))
    owner: Any = getattr(tokenizer, "__self__", None) or getattr(tokenizer, "__objclass__", None)
    module = getattr(tokenizer, "__module__", None) or getattr(owner, "__module__", None)
    return f"{module}.{name}"


class _CheckedTokenizer:
    """A user's tokenizer, picklable if it is."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, caption: str) -> list[str]:
        words = self._tokenizer(caption)
        if not isinstance(words, str | bytes | dict) and isinstance(words, Iterable):
            words = list(words)
            if all(isinstance(word, str) and word for word in words):
                return words
        raise ValueError(
            f"tokenizer must return the words of a caption as a list of strings, none empty, but "
            f"{tokenizer_name(self._tokenizer)} made {words!r} of {caption!r}"
        )


# Blocks of scripts written without spaces between words.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x109F),  # Tibetan, Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0x2E80, 0x312F),  # radicals, Chinese and Japanese signs, Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),  # Bopomofo, strokes, Katakana
    (0x3400, 0x4DBF),  # Chinese characters
    (0x4E00, 0xA4CF),  # Chinese characters, Yi
    (0xA980, 0xA9FF),  # Javanese, Burmese
    (0xAA60, 0xAADF),  # Burmese, Tai Viet
    (0xF900, 0xFAFF),  # Chinese characters
    (0x11700, 0x1174F),  # Ahom
    (0x16FE0, 0x18DFF),  # Tangut, Khitan
    (0x1AFF0, 0x1B2FF),  # Kana, Nushu
    (0x20000, 0x3FFFF),  # Chinese characters
)
_TRAILING_VOWELS = "\u0e33\u0eb3"  # Thai and Lao "am", which Unicode counts as letters but keeps with their consonant
_STACKERS = "\u1039\u17d2\u1a60"  # put the next consonant below: Burmese, Khmer, Tai Tham
_EMOJI = (
    "\u231a\u231b\u23e9-\u23f3\u23f8-\u23fa\u25fd\u25fe\u2600-\u2767\u2794-\u27bf\u2b1b\u2b1c\u2b50\u2b55"
    "\U0001f000-\U0001faff"
)
_FLAG_LETTERS = "\U0001f1e6-\U0001f1ff"
_EMOJI_MARKS = "\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f"  # skin tones; the letters of regional flags
_JOINER = "\u200d"

_INVISIBLE = (0x00AD, 0x061C, 0x180E, 0x200C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
_VARIATIONS = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))  # which picture of the same character
_APOSTROPHES = (0x02BC, 0xFF07)
_LOOKS_LIKE: dict[int, str | None] = {
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF00, 0xFFEF)},  # full and half width
    **dict.fromkeys(_APOSTROPHES, "'"),
    **dict.fromkeys((*_INVISIBLE, *_VARIATIONS)),
}


class _Patterns(NamedTuple):
    word: re.Pattern[str]
    inner_quote: re.Pattern[str]  # a curly one inside a word, which is an apostrophe
    lone_joiner: re.Pattern[str]  # one that joins no emoji


@cache
def _compiled_patterns() -> _Patterns:
    """Made when the first caption needs them, as it takes a moment."""
    mark = _ranges(code for code in range(0x300, 0x1F000) if unicodedata.category(chr(code))[0] == "M")
    unspaced = _ranges(
        code
        for first, last in _UNSPACED
        for code in range(first, last + 1)
        if chr(code).isalnum() and not chr(code).isdecimal() and chr(code) not in _TRAILING_VOWELS
    )
    mark += _TRAILING_VOWELS
    spaced = rf"[^\W_{unspaced}{_TRAILING_VOWELS}]"
    character = rf"[{unspaced}{_TRAILING_VOWELS}][{mark}]*"
    picture = rf"[{_EMOJI}][{_EMOJI_MARKS}{mark}]*"
    word = (
        rf"(?:{spaced}|')(?:{spaced}+|['{mark}]+)*"
        rf"|{character}(?:(?<=[{_STACKERS}]){character})*"
        rf"|[{_FLAG_LETTERS}]{{2}}|{picture}(?:{_JOINER}{picture})*"
    )
    # What is rare comes first in a pattern, and what must be before it is looked at afterwards: that is faster.
    inner_quote = rf"[\u2018\u2019](?<={spaced}.|[{mark}].)(?={spaced})"
    lone_joiner = rf"{_JOINER}(?<![{_EMOJI}].)"
    return _Patterns(re.compile(word), re.compile(inner_quote), re.compile(lone_joiner))


def _ranges(codes: Iterable[int]) -> str:
    """Characters, ascending, as the inside of a character class."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
