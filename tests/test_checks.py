import pytest

from vse_lightning.checks import require_name


@pytest.mark.parametrize("name", ["sbert", "LSA_400", "soft-0", "i"])
def test_names_that_every_logger_takes(name):
    require_name("losses", name)


@pytest.mark.parametrize("name", ["", "ladder_0.63", "shapes (v2)", "a@b", "a/b", "_a", "3", "größe", "a\n", 3, None])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="losses must have names of letters, digits, '_' and '-' that begin with a"):
        require_name("losses", name)
