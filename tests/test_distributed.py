"""What processes say to each other; real ones are asked in tests/losses, tests/metrics and tests/mixins."""

import torch

from vse_lightning.distributed import Processes, gather_rows, own_rows, process_count, process_rank


def test_shares_cover_everything_in_order():
    for count in (1, 2, 3, 7):
        shares = [Processes(rank, count).share(range(10)) for rank in range(count)]
        assert [item for share in shares for item in share] == list(range(10))


def test_alone():
    rows = torch.arange(6.0).view(3, 2).requires_grad_()
    assert (process_count(), process_rank()) == (1, 0)
    assert gather_rows(rows) is rows
    assert own_rows(rows) == slice(0, 3)
    assert Processes.of_group().gather(rows)[0] is rows
