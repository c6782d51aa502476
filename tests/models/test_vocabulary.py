import pickle

import torch

from vse_lightning.models.vocabulary import WordNumberer, count_words, words_of


def test_words_are_runs_of_letters_digits_and_apostrophes():
    assert words_of("Don't_walk: É-7, 'stop'") == ["don't", "walk", "é", "7", "'stop'"]
    assert words_of("...") == []


def test_rare_words_are_left_out_and_the_order_does_not_depend_on_the_captions_order():
    captions = ["b a", "b c", "c b d"]
    assert count_words(captions, 2) == ["b", "c"]
    assert count_words(captions[::-1], 1) == ["b", "c", "a", "d"]


def test_numberer_pads_on_the_right_cuts_and_knows_the_unknown():
    numberer = pickle.loads(pickle.dumps(WordNumberer(["a", "b"], max_length=2)))
    assert torch.equal(numberer(["A b a", "c", ""]), torch.tensor([[2, 3], [1, 0], [1, 0]]))
    assert numberer(["a"]).dtype == torch.int64
