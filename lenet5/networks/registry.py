"""All networks by their `--arch` names, and the table that `--arch list` prints."""

from typing import Any

from torch import nn

from lenet5.networks import definition
from lenet5.networks.lenet1998 import LeNet1998, connections
from lenet5.networks.number_network import LeNet5Wide
from lenet5.runtime.errors import UserError

# Classes of networks, which say their `arch`, `mean` and `std`.
NETWORKS: dict[str, Any] = {name: definition.network_class(name) for name in definition.NAMES}
# And those that train.py does not train.
KNOWN: dict[str, Any] = {**NETWORKS, LeNet5Wide.arch: LeNet5Wide}


def build(name: str, num_classes: int = 10) -> nn.Module:
    """A new network by its `--arch` name; `model.build` with a UserError for its ValueError."""
    if name == LeNet5Wide.arch:
        return LeNet5Wide(num_classes)
    try:
        return definition.build(name, num_classes)
    except ValueError as error:
        raise UserError(str(error)) from error


def table_of_networks() -> str:
    """What `--arch list` prints: a line a network, at most 80 columns."""
    lines = [f"{'name':13}  {'parameters':>10} {'mult-adds':>10}  reads  what is special"]
    for name in NETWORKS:
        net = build(name)
        if isinstance(net, LeNet1998):
            work = sum(connections(net).values())
        else:
            work = definition.count_multiply_adds(net)
        parameters = definition.count_parameters(net)
        lines.append(f"{name:13}  {parameters:10,} {work:10,}  {net.reads}  {net.special}")
    lines.append("of lenet5-1998: connections, as the paper counts them, in place of mult-adds")
    return "\n".join(lines)
