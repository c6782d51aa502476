import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from vse_lightning.models.encoders._recurrent import PaddedGRU, reverse_sequences

LENGTHS = torch.tensor([3, 1, 5, 2])


def torch_gru(gru: PaddedGRU) -> nn.GRU:
    """PyTorch's own bidirectional GRU with the weights of ours."""
    reference = nn.GRU(gru.forwards.input_size, gru.forwards.hidden_size, batch_first=True, bidirectional=True)
    weights = dict(gru.forwards.state_dict())
    weights |= {f"{name}_reverse": weight for name, weight in gru.backwards.state_dict().items()}
    reference.load_state_dict(weights)
    return reference


def test_both_directions_are_the_average_of_pytorchs():
    torch.manual_seed(0)
    gru = PaddedGRU(4, 6, bidirectional=True)
    inputs = torch.randn(4, 5, 4)
    states, last = gru(inputs, LENGTHS)
    packed, final = torch_gru(gru)(pack_padded_sequence(inputs, LENGTHS, batch_first=True, enforce_sorted=False))
    expected = pad_packed_sequence(packed, batch_first=True)[0].unflatten(-1, (2, 6)).mean(2)
    valid = torch.arange(5) < LENGTHS.unsqueeze(1)
    torch.testing.assert_close(states[valid], expected[valid])
    torch.testing.assert_close(last, final.mean(0))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_without_packing_gives_the_same(bidirectional, monkeypatch):
    torch.manual_seed(0)
    gru = PaddedGRU(4, 6, bidirectional)
    inputs = torch.randn(4, 5, 4)
    packed_states, packed_last = gru(inputs, LENGTHS)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    states, last = gru(inputs, LENGTHS)
    valid = torch.arange(5) < LENGTHS.unsqueeze(1)
    torch.testing.assert_close(states[valid], packed_states[valid])
    torch.testing.assert_close(last, packed_last)


def test_padding_is_not_read():
    gru = PaddedGRU(4, 6, bidirectional=True)
    inputs = torch.randn(4, 5, 4)
    _, last = gru(inputs, LENGTHS)
    inputs[torch.arange(5) >= LENGTHS.unsqueeze(1)] = 1e6
    torch.testing.assert_close(gru(inputs, LENGTHS)[1], last)


def test_exports_with_any_batch_size():
    gru = PaddedGRU(4, 6, bidirectional=True).eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(
        gru, (torch.randn(4, 5, 4), LENGTHS), dynamic_shapes=({0: batch}, {0: batch}), strict=True
    )
    inputs, lengths = torch.randn(3, 5, 4), torch.tensor([5, 2, 4])
    torch.testing.assert_close(program.module()(inputs, lengths)[1], gru(inputs, lengths)[1])


def test_reversing_twice_changes_nothing():
    padded = torch.randn(4, 5, 2)
    torch.testing.assert_close(reverse_sequences(reverse_sequences(padded, LENGTHS), LENGTHS), padded)
    assert torch.equal(reverse_sequences(padded, torch.zeros(4, dtype=torch.long)), padded)
