import pickle

import pytest
import torch

from vse_lightning.models.preprocessing.captions import WordNumberer, count_words


def test_rare_words_are_left_out_and_the_order_does_not_depend_on_the_captions_order():
    captions = ["b a", "b c", "c b d"]
    assert count_words(captions, 2) == ["b", "c"]
    assert count_words(captions[::-1], 1) == ["b", "c", "a", "d"]


def test_numberer_pads_on_the_right_cuts_and_knows_the_unknown():
    numberer = pickle.loads(pickle.dumps(WordNumberer(["a", "b"], max_length=2)))
    assert torch.equal(numberer(["A b a", "c", ""]), torch.tensor([[2, 3], [1, 0], [1, 0]]))
    assert numberer(["a"]).dtype == torch.int64


def test_words_are_those_of_labels_or_of_a_tokenizer():
    captions = ["一只黑狗", "黑狗跑"]
    assert count_words(captions, 2) == ["狗", "黑"]
    assert count_words(captions, 1, str.split) == ["一只黑狗", "黑狗跑"]
    assert torch.equal(WordNumberer(["狗", "黑"], 9)(["黑狗"]), torch.tensor([[3, 2]]))
    numberer = pickle.loads(pickle.dumps(WordNumberer(["黑狗"], 9, tokenizer=str.split)))
    assert torch.equal(numberer(["黑狗 黑狗", "黑"]), torch.tensor([[2, 2], [1, 0]]))


def test_captions_without_any_known_word_are_noticed_once():
    numberer = WordNumberer(["dog", "cat"], max_length=9)
    numberer(["a dog", "ein Hund"])
    message = r"^GRUTextEncoder: 2 captions together have none of the 2 words of the vocabulary, .* first is 'ein Hund'"
    with pytest.warns(UserWarning, match=message):
        numbers = numberer(["ein Hund", "une chatte"])
    assert numbers.unique().tolist() == [1]
    numberer(["ein Hund"])
