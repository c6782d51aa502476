"""What dropout draws from, in each process: a resumed run is the same run, with as many processes and such devices."""

from collections.abc import Sequence

from torch import Tensor, cuda, device, get_rng_state, set_rng_state

from vse_lightning.distributed import Processes, process_count, process_rank

States = dict[str, Tensor]


def random_states(of: device, *, everyone: bool) -> list[States]:
    """The states of the generators of the CPU and of a GPU, of this process or in the order of all that train."""
    own = {"cpu": get_rng_state()}
    if of.type == "cuda":
        own["cuda"] = cuda.get_rng_state(of)
    if not everyone:
        return [own]
    gathered = [Processes.of_group().gather_alike(state.to(of)) for state in own.values()]
    return [dict(zip(own, states, strict=True)) for states in zip(*gathered, strict=True)]


def restore_random_state(states: Sequence[States], of: device) -> None:
    """Go on where this process was, if the states are those of as many processes."""
    if len(states) != process_count():
        return
    own = states[process_rank()]
    set_rng_state(own["cpu"].cpu())
    if "cuda" in own and of.type == "cuda":
        cuda.set_rng_state(own["cuda"].cpu(), of)
