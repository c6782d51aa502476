"""A GRU over right-padded sequences whose output does not depend on the padding."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class PaddedGRU(nn.Module):
    """One-layer GRU over right-padded sequences of different lengths.

    A sequence's states are the same alone and beside longer sequences. The two directions, if there are two, are
    averaged (SCAN), so the states have ``hidden_dim`` dimensions either way.

    References:
        Lee et al., "Stacked Cross Attention for Image-Text Matching" (SCAN), ECCV 2018, section 3.2 (the average of
        the directions).
    """

    def __init__(self, input_dim: int, hidden_dim: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.forwards = nn.GRU(input_dim, hidden_dim, batch_first=True)
        self.backwards = nn.GRU(input_dim, hidden_dim, batch_first=True) if bidirectional else None

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Run over sequences ``(B, L, input_dim)`` of ``lengths (B,)``, int64 in [1, L], ignoring what is behind them.

        Returns:
            States ``(B, L, hidden_dim)``, arbitrary in the padding, and last states ``(B, hidden_dim)``: of a backward
            GRU that is the state at the first position.
        """
        states = _states(self.forwards, inputs, lengths)
        last = _last(states, lengths)
        if self.backwards is None:
            return states, last
        backward_states = _states(self.backwards, reverse_sequences(inputs, lengths), lengths)
        last = (last + _last(backward_states, lengths)) / 2
        return (states + reverse_sequences(backward_states, lengths)) / 2, last


def _states(gru: nn.GRU, inputs: Tensor, lengths: Tensor) -> Tensor:
    # A GRU never looks ahead, so right padding cannot reach a valid state: nothing has to be packed. On a CPU packing
    # saves the work spent on padding (1.7 times faster on captions); elsewhere it would fetch the lengths from the
    # device in every step, and torch.export cannot trace it.
    if inputs.device.type != "cpu" or torch.compiler.is_compiling():
        states: Tensor = gru(inputs)[0]
        return states
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=inputs.shape[1])[0]


def _last(states: Tensor, lengths: Tensor) -> Tensor:
    return states[torch.arange(states.shape[0], device=states.device), lengths - 1]


def reverse_sequences(padded: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each of ``padded (B, L, D)`` within its own length, in [0, L]; the padding stays where it is.

    Example:
        >>> import torch
        >>> reverse_sequences(torch.tensor([[[1], [2], [0]], [[3], [4], [5]]]), torch.tensor([2, 3])).squeeze(-1)
        tensor([[2, 1, 0],
                [5, 4, 3]])
    """
    positions = torch.arange(padded.shape[1], device=padded.device)
    mirrored = lengths.unsqueeze(1) - 1 - positions
    index = torch.where(mirrored < 0, positions, mirrored)
    return padded.gather(1, index.unsqueeze(-1).expand_as(padded))
