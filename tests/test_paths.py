import pytest

from vse_lightning.paths import existing_path


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


@pytest.mark.parametrize("written", ["${VSE_DATA}/captions.json", "$VSE_DATA/captions.json"])
def test_configs_look_in_data_unless_the_environment_says_where(tmp_path, monkeypatch, written):
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "elsewhere"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "captions.json").touch()
    monkeypatch.delenv("VSE_DATA", raising=False)
    assert existing_path("captions", written) == tmp_path / "data" / "captions.json"
    monkeypatch.setenv("VSE_DATA", "elsewhere")
    assert existing_path("captions", written) == tmp_path / "elsewhere" / "captions.json"
    with pytest.raises(FileNotFoundError, match="has no '\\$VSE_DATASETS'"):
        existing_path("captions", "$VSE_DATASETS/captions.json")
