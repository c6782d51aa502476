import pytest

from vse_lightning.data.paths import existing_path


def test_existing_path_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert existing_path("images", "there") == tmp_path / "there"


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data.json").touch()
    assert existing_path("captions", "~/data.json") == tmp_path / "data.json"


def test_misspelt_name_gets_a_suggestion(tmp_path):
    (tmp_path / "captions.json").touch()
    with pytest.raises(FileNotFoundError, match=r"captions: nothing at .* did you mean '.*/captions\.json'\?"):
        existing_path("captions", tmp_path / "caption.json")


def test_misspelt_folder_is_the_part_that_is_named(tmp_path):
    (tmp_path / "flickr8k").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no 'flikr8k'; did you mean '.*/flickr8k'\?"):
        existing_path("captions", tmp_path / "flikr8k" / "captions.json")


def test_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(FileNotFoundError, match="is a file, not a folder"):
        existing_path("captions", tmp_path / "data" / "captions.json")
