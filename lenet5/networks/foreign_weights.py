"""State dicts of other programs: wrapped, under other names, in another order."""

from collections import Counter, OrderedDict, defaultdict
from typing import Any

import torch

from lenet5.networks.registry import NETWORKS, build
from lenet5.runtime.errors import UserError

# Under what programs put a state dict beside the epoch, the optimiser and so on.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
DEEPEST = 3  # wrappers in each other
MOST_TENSORS = 40  # more than any network here has
MOST_CLASSES = 10_000  # keeps a hostile file from asking for a layer of any size


def unwrapped(value: Any) -> tuple[Any, dict]:
    """The state dict in what a program saved, and what is known of it where it is one of our runs.

    A file can put anything in the place of an object's own `get`, but not of its class's.
    """
    for _ in range(DEEPEST):
        if not isinstance(value, dict):
            break
        best = dict.get(value, "best")  # of a run's checkpoint: its best epoch
        if isinstance(best, dict) and isinstance(dict.get(best, "weights"), dict):
            metadata = dict.get(best, "metadata")
            return best["weights"], metadata if isinstance(metadata, dict) else {}
        inside = [dict.get(value, name) for name in WRAPPERS]
        inside = [found for found in inside if isinstance(found, dict)]
        if not inside:
            break
        value = inside[0]
    return value, {}


def without_prefix(state: OrderedDict) -> OrderedDict:
    """A state dict without what stands before all of its names, as in module._orig_mod.c1.weight."""
    while state and all("." in name for name in state):
        first = {name.partition(".")[0] for name in state}
        # Of a layer alone, weight and bias are left, which is a name of nothing.
        if len(first) > 1 or not all("." in name.partition(".")[2] for name in state):
            break
        state = OrderedDict((name.partition(".")[2], tensor) for name, tensor in state.items())
    return state


def renamed(state: OrderedDict, arch: str | None) -> dict[str, OrderedDict]:
    """For each network whose shapes these are, the state dict under its names, in its order.

    `arch`, where given, is the only network that is asked for.
    """
    if len(state) > MOST_TENSORS:
        return {}
    # The last layer's rows; of the paper's network they are the digits' bitmaps.
    sizes = sorted({len(t) for t in state.values() if t.dim() == 2 and len(t) <= MOST_CLASSES})
    found: dict[str, OrderedDict] = {}
    for name in [arch] if arch in NETWORKS else NETWORKS:
        for size in sizes:
            try:
                wanted = build(name, size).state_dict()
            except UserError:  # a network that does not come with so many classes
                continue
            if (own := matched(state, wanted)) is not None:
                found[name] = own
    return found


def matched(state: OrderedDict, wanted: dict[str, torch.Tensor]) -> OrderedDict | None:
    """Tensors under the names of others with the same shapes; None if that is not one to one.

    Where several have one shape, they have to stand in the same order, with all others.
    """
    shapes, theirs = ([tuple(t.shape) for t in part.values()] for part in (wanted, state))
    if Counter(shapes) != Counter(theirs):
        return None
    if len(set(shapes)) < len(shapes) and shapes != theirs:
        return None
    by_shape: dict[tuple, list[torch.Tensor]] = defaultdict(list)
    for tensor in state.values():
        by_shape[tuple(tensor.shape)].append(tensor)
    return OrderedDict((name, by_shape[tuple(t.shape)].pop(0)) for name, t in wanted.items())
