import pytest
import torch

from vse_lightning.models.encoders.gru_text import read_word_vectors


@pytest.fixture
def write(tmp_path):
    def write_lines(*lines):
        path = tmp_path / "vectors.txt"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write_lines


def test_reads_only_the_words_asked_for(write):
    path = write("the 1 2 3", "dog 0.5 -1e-1 0", ". . . 1 2 3", "café 7 8 9")
    found = read_word_vectors(path, ["dog", "cat", "café"], dim=3)
    assert found.keys() == {"dog", "café"}
    torch.testing.assert_close(found["dog"], torch.tensor([0.5, -0.1, 0.0]))


def test_skips_the_size_that_word2vec_and_fasttext_write_first(write):
    assert read_word_vectors(write("2 3", "the 1 2 3", "dog 4 5 6 "), ["dog"], dim=3).keys() == {"dog"}


@pytest.mark.parametrize("dim", [2, 4])
def test_refuses_another_width(write, dim):
    with pytest.raises(ValueError, match=rf"word_dim={dim} .* line 1 of .*vectors.txt has 3 after the word"):
        read_word_vectors(write("the 1 2 3"), ["the"], dim=dim)


def test_refuses_a_cut_line(write):
    with pytest.raises(ValueError, match=r"line 3 .* has 1 after the word"):
        read_word_vectors(write("the 1 2 3", "a 1 2 3", "dog 1"), ["dog"], dim=3)


def test_refuses_what_is_no_number(write):
    with pytest.raises(ValueError, match=r"line 2 of .* must hold a word and numbers: could not convert .*'x'"):
        read_word_vectors(write("the 1 2 3", "dog 1 x 3"), ["dog"], dim=3)


@pytest.mark.parametrize("value", ["nan", "inf", "1e60"])
def test_vectors_that_are_not_finite_are_refused(write, value):
    with pytest.raises(ValueError, match=r"line 2 of .* must hold finite numbers, got NaN or infinity"):
        read_word_vectors(write("the 1 2 3", f"dog 1 {value} 3"), ["dog"], dim=3)
