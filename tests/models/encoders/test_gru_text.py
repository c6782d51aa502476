import logging
import pickle

import pytest
import torch

from vse_lightning.models.checkpoints.restoring import restoring
from vse_lightning.models.encoders.gru_text import GRUTextEncoder

POOLING_KINDS = ["last", "mean", "max", "gpo"]


def make(captions, **arguments):
    torch.manual_seed(0)
    encoder = GRUTextEncoder(**{"word_dim": 6, "embed_dim": 10, "min_count": 1, **arguments})
    encoder.fit(captions)
    return encoder


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLING_KINDS)
def test_an_embedding_does_not_depend_on_its_batch(pooling, bidirectional, captions):
    encoder = make(captions, pooling=pooling, bidirectional=bidirectional)
    number = encoder.transform()
    together = encoder(number(captions))
    assert together.shape == (len(captions), encoder.embed_dim)
    for caption, embedding in zip(captions, together, strict=True):
        torch.testing.assert_close(encoder(number([caption]))[0], embedding)


def test_the_order_of_words_matters(captions):
    encoder = make(captions)
    first, second = encoder(encoder.transform()(["the red ball", "ball red the"]))
    assert not torch.allclose(first, second, atol=1e-3)


def test_before_fit_it_says_what_is_missing():
    encoder = GRUTextEncoder()
    with pytest.raises(RuntimeError, match=r"call fit\(training_captions\)"):
        encoder(torch.ones(1, 2, dtype=torch.long))
    with pytest.raises(RuntimeError, match="no vocabulary yet"):
        encoder.transform()


def test_a_second_fit_does_nothing(captions):
    encoder = make(captions)
    weight = encoder.word_vectors.weight
    encoder.fit(["quite other words"])
    assert encoder.word_vectors.weight is weight
    assert "quite" not in encoder.vocabulary


def test_rare_words_are_unknown(captions):
    encoder = make(["a dog", "a cat", "a dog"], min_count=2)
    assert encoder.vocabulary == ["a", "dog"]
    cat, whale = encoder(encoder.transform()(["a cat", "a whale"]))
    torch.testing.assert_close(cat, whale)


def test_the_vocabulary_travels_in_the_state_dict(captions, tmp_path):
    encoder = make(captions, bidirectional=True, pooling="gpo")
    torch.save(encoder.state_dict(), tmp_path / "state.pt")
    restored = GRUTextEncoder(word_dim=6, embed_dim=10, bidirectional=True, pooling="gpo")
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert restored.vocabulary == encoder.vocabulary
    torch.testing.assert_close(
        restored(restored.transform()(captions)), encoder(encoder.transform()(captions)), rtol=0, atol=0
    )


def test_loading_its_own_state_keeps_the_parameters_that_an_optimizer_holds(captions):
    encoder = make(captions)
    weight = encoder.word_vectors.weight
    state = {
        name: value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in encoder.state_dict().items()
    }
    torch.nn.init.zeros_(weight)
    encoder.load_state_dict(state)
    assert encoder.word_vectors.weight is weight
    assert torch.equal(weight, state["word_vectors.weight"])


def test_another_vocabulary_replaces_the_fitted_one(captions):
    encoder, other = make(captions), make(["entirely different words in here"]).double()
    encoder.double().load_state_dict(other.state_dict())
    assert encoder.vocabulary == other.vocabulary
    assert encoder.word_vectors.weight.dtype == torch.float64


def test_a_state_without_vocabulary_loads_before_fit(captions):
    state = GRUTextEncoder(word_dim=6, embed_dim=10, min_count=1).state_dict()
    encoder = GRUTextEncoder(word_dim=6, embed_dim=10, min_count=1)
    encoder.load_state_dict(state)
    encoder.fit(captions)


def test_starts_from_word_vectors_and_reports_their_share(captions, tmp_path, caplog):
    path = tmp_path / "vectors.txt"
    path.write_text("dog 1 2 3 4 5 6\nball 6 5 4 3 2 1\nunused 0 0 0 0 0 0\n")
    with caplog.at_level(logging.INFO):
        encoder = make(["a dog", "a ball", "a black dog"], vectors=str(path))
    assert "vectors for 2 of the 4 words (50.0%)" in caplog.text
    row = encoder.transform()(["dog"]).item()
    assert encoder.word_vectors.weight[row].tolist() == [1, 2, 3, 4, 5, 6]
    assert encoder.word_vectors.weight[encoder.transform()(["black"]).item()].abs().max() <= 0.1


def test_restoring_needs_no_file_of_vectors(captions):
    with restoring():
        encoder = GRUTextEncoder(min_count=1, vectors="/nowhere/glove.txt")
    encoder.fit(captions)


CHINESE = ["一只黑色的狗在草地上", "黑狗在草地上跑", "一个男人骑车", "男人在街上骑车"]


def test_captions_without_spaces_are_read_character_by_character():
    encoder = make(CHINESE, min_count=2)
    assert "狗" in encoder.vocabulary
    first, second, same = encoder(encoder.transform()(["黄狗在草地上", "男人骑车", "红狗在草地上"]))
    assert not torch.allclose(first, second, atol=1e-3)
    torch.testing.assert_close(first, same)


def two_letters(caption):
    return [caption[place : place + 2] for place in range(len(caption) - 1)]


def test_a_tokenizer_of_ones_own_travels_to_workers_and_is_asked_for_by_the_state():
    encoder = make(CHINESE, tokenizer=two_letters)
    assert "草地" in encoder.vocabulary
    number = pickle.loads(pickle.dumps(encoder.transform()))
    assert (
        number(["草地"]).tolist() == encoder.transform()(["草地"]).tolist() == [[2 + encoder.vocabulary.index("草地")]]
    )
    message = (
        r"tokenizer must be the one that made the vocabulary of the checkpoint, .*test_gru_text\.two_letters, got None"
    )
    with pytest.raises(ValueError, match=message):
        GRUTextEncoder(6, 10).load_state_dict(encoder.state_dict())
    with pytest.raises(ValueError, match=r"vocabulary of the checkpoint, None, got .*test_gru_text\.two_letters"):
        encoder.load_state_dict(make(CHINESE).state_dict())
    again = GRUTextEncoder(6, 10, tokenizer=two_letters)
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(number(CHINESE)), encoder(number(CHINESE)))


def test_sentences_that_are_one_word_each_are_noticed():
    with pytest.warns(
        UserWarning, match="^GRUTextEncoder: each of the 4 captions is a single word, such as '一只黑色的"
    ):
        make(CHINESE, tokenizer=str.split)


def test_dropout_acts_in_training_only(captions):
    encoder = make(captions, dropout=0.5)
    text = encoder.transform()(captions)
    assert not torch.equal(encoder(text), encoder(text))
    encoder.eval()
    assert torch.equal(encoder(text), encoder(text))


@pytest.mark.parametrize("pooling", POOLING_KINDS)
def test_learns(pooling, captions, losses_of_training):
    encoder = make(captions, pooling=pooling)
    text, targets = encoder.transform()(captions), torch.randn(len(captions), 10)
    losses = losses_of_training(encoder, text, targets, rate=0.03, steps=12)
    assert losses[-1] < 0.5 * losses[0]


def test_runs_under_autocast(captions):
    encoder = make(captions, bidirectional=True, pooling="gpo")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeds = encoder(encoder.transform()(captions))
    embeds.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"pooling": "first"}, ValueError, "pooling must be one of 'last', 'mean', 'max', 'gpo', got 'first'"),
        ({"max_length": 0}, ValueError, "max_length must be a whole number of at least 1, got 0"),
        ({"vectors": "/nowhere/glove.txt"}, FileNotFoundError, "found no file '/nowhere/glove.txt'"),
        ({"tokenizer": "jieba"}, ValueError, "tokenizer must be a function or None, got 'jieba'"),
        ({"min_count": 99}, ValueError, "no word occurs min_count=99 times in the 5 training captions"),
    ],
)
def test_refuses(arguments, error, message, captions):
    with pytest.raises(error, match=message):
        make(captions, **arguments)
    with pytest.raises(ValueError, match=r"half of a character, '\\ud83d', in row 1"):
        GRUTextEncoder().fit(["a dog", "a \ud83d"])


def test_refuses_vectors_that_do_not_fit_and_stays_unfitted(captions, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("dog 1 2 3\n")
    encoder = GRUTextEncoder(word_dim=6, min_count=1, vectors=str(path))
    with pytest.raises(ValueError, match="word_dim=6 asks for vectors of 6 numbers"):
        encoder.fit(captions)
    assert encoder.vocabulary == []
    path.write_text("unheard 1 2 3 4 5 6\n")
    with pytest.raises(ValueError, match=r"has none of the .* words of the captions"):
        encoder.fit(captions)


def test_refuses_strings(captions):
    with pytest.raises(TypeError, match=r"tensor that transform\(\) makes of captions, got list"):
        make(captions)(captions)
