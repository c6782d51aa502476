# ruff: noqa: RUF001  # other scripts are what this is about
"""Words as readers see them; oracles: Unicode's own scripts and grapheme clusters, as the package regex has them."""

import functools
import pickle
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vse_lightning.words import splitter, tokenizer_name, warn_of_single_words, words_of

UNSPACED = [
    "Thai",
    "Lao",
    "Tibetan",
    "Myanmar",
    "Khmer",
    "Tai_Le",
    "New_Tai_Lue",
    "Tai_Tham",
    "Tai_Viet",
    "Han",
    "Hiragana",
    "Katakana",
    "Bopomofo",
    "Yi",
    "Tangut",
    "Nushu",
    "Javanese",
    "Balinese",
    "Ahom",
    "Khitan_Small_Script",
]

# Characters with rules of their own are rare among all that there are.
SPECIAL = "aB1 _'’‘ʼＡ＇ｶﾞéİΣςक्षขำ狗ー가ᄀ🐶👩🏽🇩❤3\u0301\u0323\u0345\u200d\u200c\u200b\ufe0f\u20e3\u00ad\u17d2ខ"
TEXTS = st.text(st.one_of(st.sampled_from(SPECIAL), st.characters(exclude_categories=["Cs"])))


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("Two dogs -- one ball.", "two dogs one ball"),
        ("The boy's T-shirt_3", "the boy's t shirt 3"),
        ("a sign : ' stop '", "a sign ' stop '"),  # as the tokenised captions of Flickr8k have them
        ("1,000 dogs; 3.5 m", "1 000 dogs 3 5 m"),
        ("Über CAFÉ ½ x²", "über café ½ x²"),
        ("A man’s dogs’ ‘toys’", "a man's dogs toys"),  # curly: an apostrophe inside a word, else a quotation mark
        ("cafe\u0301’s", "café's"),
        ("м’яч м'яч мʼяч", "м'яч м'яч м'яч"),
        ("foot\u00adball \u200ein\ufeff the park", "football in the park"),
        ("ΟΔΟΣ", "οδος"),
        ("काला कुत्ता।", "काला कुत्ता"),
        ("क्\u200dष क्ष", "क्ष क्ष"),
        ("می\u200cخواهم", "میخواهم"),
        ("강아지가 뛰어요", "강아지가 뛰어요"),
        ("một con chó", "một con chó"),
        ("一只黑色的狗，在跑。", "一 只 黑 色 的 狗 在 跑"),
        ("20只狗穿T恤", "20 只 狗 穿 t 恤"),
        ("写着‘狗’的牌子", "写 着 狗 的 牌 子"),
        ("２匹のＤＯＧ", "2 匹 の dog"),
        ("ｶﾞｯｺｰ", "ガ ッ コ ー"),
        ("สีดำวิ่ง น้ำ ๒๐", "สี ดำ วิ่ ง น้ำ ๒๐"),
        ("བོད་ཡིག", "བོ ད ཡི ག"),
        ("ខ្មែរ", "ខ្មែ រ"),
        ("မြန်\u200bမာ", "မြ န် မာ"),
        ("dog🐶🐕 ☀️☀", "dog 🐶 🐕 ☀ ☀"),
        ("👩\u200d🚀👍🏽🇩🇪🇫🇷3️⃣", "👩\u200d🚀 👍🏽 🇩🇪 🇫🇷 3\u20e3"),
        (" .,; \u0301\ufe0f\u200d", ""),
        ("", ""),
    ],
)
def test_words_are_those_that_a_reader_sees(caption, words):
    assert words_of(caption) == words.split()
    assert words_of(unicodedata.normalize("NFD", caption)) == words.split()


@given(st.text(st.characters(max_codepoint=127)))
def test_english_words_are_runs_of_letters_digits_and_apostrophes(caption):
    assert words_of(caption) == re.findall(r"[\w']+", caption.lower().replace("_", " "))


@given(TEXTS)
def test_words_stay_what_they_are(caption):
    words = words_of(caption)
    assert words_of(" ".join(words)) == words
    assert all(word and not word.isspace() for word in words)


@given(TEXTS)
def test_composed_and_decomposed_text_has_the_same_words(caption):
    composed, decomposed = (words_of(unicodedata.normalize(form, caption)) for form in ("NFC", "NFD"))
    assert composed == decomposed == words_of(caption)


@given(TEXTS, TEXTS)
def test_words_end_at_spaces(first, second):
    assert words_of(f"{first} {second}") == words_of(first) + words_of(second)


def test_a_letter_is_a_word_exactly_in_scripts_without_spaces():
    regex = pytest.importorskip("regex")
    unspaced = regex.compile("|".join(rf"\p{{Script={script}}}" for script in UNSPACED))
    # Not those of no script, those of half and full width, which stand for others, and those that follow a consonant.
    left_out = regex.compile(r"\p{Script=Common}|[\uff00-\uffef]|\p{Grapheme_Cluster_Break=SpacingMark}")
    for letter in map(chr, range(0x110000)):
        if letter.isalpha() and not left_out.match(letter):
            assert len(words_of(letter + letter)) == 1 + bool(unspaced.match(letter)), unicodedata.name(letter)


@given(st.text(st.characters(categories=["L", "M"], min_codepoint=0x0E00, max_codepoint=0x0FBC)))
def test_characters_of_thai_lao_and_tibetan_are_grapheme_clusters(caption):
    regex = pytest.importorskip("regex")
    caption = "ก" + caption  # marks need a letter to sit on
    assert words_of(caption) == regex.findall(r"\X", unicodedata.normalize("NFC", caption))


def segment(caption):
    return caption.split("|")


class Segmenter:
    def __init__(self, mode):
        self.mode = mode

    def __call__(self, caption):
        return iter(caption.split(self.mode))

    def cut(self, caption):
        return tuple(caption)

    def __repr__(self):
        return f"Segmenter({self.mode!r})"


def test_a_tokenizer_of_ones_own():
    assert splitter(None) is words_of
    for tokenizer in (segment, Segmenter("|"), functools.partial(str.split, sep="|")):
        assert splitter(tokenizer)("The dog|runs") == ["The dog", "runs"]
    assert splitter(Segmenter("|").cut)("狗跑") == ["狗", "跑"]
    assert pickle.loads(pickle.dumps(splitter(segment)))("a|b") == ["a", "b"]


@pytest.mark.parametrize("returned", ["a dog", b"a dog", ["a", ""], [1, 2], {"input_ids": [1, 2]}, None, [["a"]]])
def test_what_a_tokenizer_must_return(returned):
    def wrong(caption):
        return returned

    message = re.escape(f"made {returned!r} of 'a dog'")
    with pytest.raises(
        ValueError, match=rf"^tokenizer must return the words .* as a list of strings.*wrong {message}$"
    ):
        splitter(wrong)("a dog")


def test_what_is_no_tokenizer():
    with pytest.raises(ValueError, match="tokenizer must be a function from a caption to its words, got 'jieba'"):
        splitter("jieba")


def test_errors_inside_a_tokenizer_are_the_users():
    with pytest.raises(ZeroDivisionError):
        splitter(lambda caption: 1 / 0)("a dog")


def test_tokenizers_are_told_apart_by_name():
    named = [None, segment, Segmenter("|"), Segmenter("/"), Segmenter("|").cut, str.split, functools.partial(segment)]
    names = [tokenizer_name(tokenizer) for tokenizer in named]
    assert names[:6] == [
        None,
        f"{__name__}.segment",
        "Segmenter('|')",
        "Segmenter('/')",
        f"{__name__}.Segmenter.cut",
        "builtins.str.split",
    ]
    assert names[6].startswith("functools.partial(<function segment")
    assert "0x" not in names[6]


def test_captions_of_one_word_each():
    with pytest.warns(UserWarning, match=r"^CIDErRelevance: each of the 2 captions is a single word, such as 'แมวดำ'"):
        warn_of_single_words("CIDErRelevance", ["แมวดำ", "หมา"], segment)
    warn_of_single_words("CIDErRelevance", ["แมวดำ", "หมา"], words_of)
    warn_of_single_words("CIDErRelevance", ["dog", "a cat"], words_of)
