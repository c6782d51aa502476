import pytest
from jsonargparse import ArgumentError, ArgumentParser, auto_cli

from vse_lightning.relevance import (
    CaptionEnsemble,
    CIDErRelevance,
    LSARelevance,
    PrecomputedRelevance,
    RelevanceSource,
    SBERTRelevance,
)

MODULE = "vse_lightning.relevance"


def identity(relevance: RelevanceSource) -> RelevanceSource:
    return relevance


def build(config: str) -> RelevanceSource:
    return auto_cli(identity, args=[f"--relevance={config}"], as_positional=False, exit_on_error=False)


@pytest.mark.parametrize("source", [SBERTRelevance, CIDErRelevance, LSARelevance])
def test_a_class_name_is_enough(source):
    pytest.importorskip("sentence_transformers")
    built = build(f"class_path: {MODULE}.{source.__name__}")
    assert type(built) is source
    assert built.name == source().name


def test_arguments(tmp_path):
    pytest.importorskip("sentence_transformers")
    yaml_text = f"""
        class_path: {MODULE}.SBERTRelevance
        init_args: {{model: bundled, batch_size: 8, device: cpu, rescale: shift}}
    """
    assert build(yaml_text).name == "SBERT all-MiniLM-L6-v2 shifted"
    with pytest.raises((ArgumentError, FileNotFoundError), match=r"nothing at '.*/none\.npy'"):
        build(f"{{class_path: {MODULE}.PrecomputedRelevance, init_args: {{path: {tmp_path}/none.npy, side: image}}}}")


@pytest.mark.parametrize(("source", "name"), [("CIDErRelevance", "CIDEr-D"), ("LSARelevance", "LSA-400")])
def test_a_tokenizer_of_ones_own(source, name):
    pytest.importorskip("sklearn")
    built = build(f"{{class_path: {MODULE}.{source}, init_args: {{tokenizer: re.findall}}}}")
    assert built.name == f"{name}(tokenizer=re.findall)"
    with pytest.raises(ArgumentError, match="tokenizer"):
        build(f"{{class_path: {MODULE}.{source}, init_args: {{tokenizer: jieba_that_is_not_there.cut}}}}")


def test_an_ensemble():
    pytest.importorskip("sklearn")
    built = build(f"""
        class_path: {MODULE}.CaptionEnsemble
        init_args:
          sources:
            - class_path: {MODULE}.CIDErRelevance
            - {{class_path: {MODULE}.LSARelevance, init_args: {{n_components: 50}}}}
          weights: [1, 3]
    """)
    assert type(built) is CaptionEnsemble
    assert built.name == "0.25 CIDEr-D + 0.75 LSA-50"


@pytest.mark.parametrize(
    "source", [SBERTRelevance, CIDErRelevance, LSARelevance, PrecomputedRelevance, CaptionEnsemble]
)
def test_help_explains_every_argument(source):
    parser = ArgumentParser(exit_on_error=False)
    arguments = parser.add_class_arguments(source, "relevance")
    described = {action.dest: action.help for action in parser._actions}
    assert arguments
    assert all(described[name] for name in arguments)
