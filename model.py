"""The LeNet family, one class a network, and saving and loading their weights.

    >>> import torch
    >>> from model import LeNet5
    >>> net = LeNet5()
    >>> net(torch.zeros(1, 1, 32, 32)).shape
    torch.Size([1, 10])
    >>> sum(p.numel() for p in net.parameters())
    61706

The layers carry the names of the paper: LeCun, Bottou, Bengio, Haffner,
"Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86(11),
1998, section II.B. C is a convolution, S a subsampling, F a full connection,
and the number counts the layers.
"""

import copy
import functools
import io
import os
import pickletools
import warnings
import zipfile
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from answers import check_description
from lenet5.runtime.atomic_files import read_file, unpacked_size, write_file
from lenet5.runtime.errors import UserError, one_line, say
from lenet1998 import LeNet1998, connections

# The largest network has 132,000 parameters, half a megabyte.
LARGEST_WEIGHTS = 64 << 20  # bytes
# Kinds of numbers that weights may be stored as; a network takes them all.
PLAIN_NUMBERS = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)
# What `--precision` names, beside "auto".
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Steps of a pickle that make what later ones may use again.
USED_AGAIN = (
    "GLOBAL",
    "BINUNICODE",
    "SHORT_BINSTRING",
    "EMPTY_DICT",
    "EMPTY_LIST",
    "REDUCE",
    "BINPERSID",
)


class LeNet5(nn.Module):
    """LeNet-5 as it is taught today: ReLU, max pooling, linear outputs.

    N×1×32×32 float32 to N×10 logits; 61,706 trainable parameters.

    From seed document 000. Differences from the paper's network: ReLU instead
    of 1.7159·tanh(2x/3), max pooling without parameters instead of trainable
    subsampling, C3 connected to all six maps of S2 (2,416 parameters, not
    1,516), C5 as a full connection, which is the same function on 32×32, and
    ten linear outputs (850 parameters) instead of distances to bitmaps.

    `mean` and `std` are those of the pixels of MNIST's 60,000 training images,
    scaled to [0, 1]: the network's input is (pixel - mean) / std.
    """

    arch = "lenet5"
    reads, special = "32×32", "ReLU, max pooling"
    mean, std = 0.1307, 0.3081

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, kernel_size=5)  # 156 parameters
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)  # 2,416
        self.c5 = nn.Linear(16 * 5 * 5, 120)  # 48,120
        self.f6 = nn.Linear(120, 84)  # 10,164
        self.output = nn.Linear(84, num_classes)  # 850
        self.apply(init_he)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # ReLU follows the pooling, where it has a quarter of the work: both keep
        # the order of numbers, so max(relu(a), relu(b)) = relu(max(a, b)) exactly.
        x = F.relu(convolve_and_pool(self.c1, x))  # C1 N×6×28×28, S2 N×6×14×14
        x = F.relu(convolve_and_pool(self.c3, x))  # C3 N×16×10×10, S4 N×16×5×5
        x = x.flatten(1)  # N×400
        x = F.relu(self.c5(x))  # N×120
        x = F.relu(self.f6(x))  # N×84
        return self.output(x)  # N×10


def convolve_and_pool(convolution: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """`F.max_pool2d(convolution(x), 2)` for 5×5 kernels, in less time on a CPU.

    A CPU wastes most of its vector width on a convolution that makes six maps
    out of one. So we cut the pictures into windows of 8×8, four pixels apart.
    A 5×5 kernel has 4×4 places in a window, which gives 4×4 neighbouring
    numbers of a map, and all maps of all windows are one product of two
    matrices: 49 windows of 64 pixels a picture by 64 × 96 weights. That is 2.6
    times the multiplications. Where there are several maps below, as for C3, the
    convolution is PyTorch's own. On 2 cores the whole network's training step takes
    0.77 of the time with PyTorch's convolutions and poolings, and an evaluation
    0.52 (python benchmarks/step.py, an AMD EPYC).
    """
    if x.device.type != "cpu":
        return F.max_pool2d(convolution(x), 2)
    maps, channels = convolution.weight.shape[:2]
    height, width = x.shape[2:]
    if channels > 1 or height % 4 or width % 4 or min(height, width) < 8:
        # The pooling takes a tenth of the time where the maps of a place lie side by side.
        return F.max_pool2d(convolution(x).contiguous(memory_format=torch.channels_last), 2)
    windows = x.unfold(2, 8, 4).unfold(3, 8, 4)  # N×1×H×W×8×8, H and W counting windows
    count, _, height, width, _, _ = windows.shape
    windows = windows.reshape(count * height * width, 64)
    # The pooling first: of each 2×2 places, which lie a row of 4·maps numbers apart.
    x = largest_of_four((windows @ kernel_at_all_places(convolution.weight)).view(-1, 4, 1, 4 * maps))
    # What is left are 2×2 numbers of each map in each window: put them where they belong.
    x = x.reshape(count, height, width, 2, 2, maps)
    if x.dtype == torch.bfloat16:  # from which the next convolution learns faster map by map
        x = x.permute(0, 5, 1, 3, 2, 4).reshape(count, maps, 2 * height, 2 * width)
        return x + convolution.bias.to(x.dtype)[:, None, None]
    # And in float32 faster where the maps of a place lie side by side.
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(count, 2 * height, 2 * width, maps)
    return (x + convolution.bias).permute(0, 3, 1, 2)


def largest_of_four(rows: torch.Tensor) -> torch.Tensor:
    """The largest of each four rows of numbers: N×4×1×M to N×1×1×M.

    Where a gradient is wanted, PyTorch's pooling remembers which one it was, and of equal
    ones the first gets it all. Where none is, two comparisons do, and take less time.
    """
    if torch.is_grad_enabled():
        return F.max_pool2d(rows.permute(0, 3, 1, 2), (4, 1)).permute(0, 2, 3, 1)
    rows = torch.maximum(rows[:, :2], rows[:, 2:])
    return torch.maximum(rows[:, :1], rows[:, 1:])


def kernel_at_all_places(kernels: torch.Tensor) -> torch.Tensor:
    """Maps×1×5×5 kernels as the matrix by which `convolve_and_pool` multiplies its windows.

    64×(4·4·maps): a column for each of the 4×4 places in a window of 8×8. Place
    (2i + a, 2j + b) is number (a, b) of the four that are pooled to (i, j); the
    columns are in the order a, b, i, j, map.
    """
    maps = len(kernels)
    # With 3 zeros around it, the 8×8 cut at (3 - y, 3 - x) holds the kernel at (y, x).
    cuts = F.pad(kernels, (3, 3, 3, 3)).unfold(2, 8, 1).unfold(3, 8, 1).flip(2, 3)
    cuts = cuts.reshape(maps, 2, 2, 2, 2, 64)  # axes: map, i, a, j, b, pixel
    return cuts.permute(5, 2, 4, 1, 3, 0).reshape(64, 16 * maps)


def init_he(module: nn.Module) -> None:
    """He initialisation: weights from N(0, 2 / fan-in), biases 0.

    A ReLU sets half of its inputs to zero and so halves the mean square of the
    signal; the factor 2 makes up for it, and the signal keeps its size from
    layer to layer (He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015,
    equation 10). PyTorch's own default draws a sixth of that variance, and by
    F6 the differences between pictures have shrunk accordingly.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_xavier(module: nn.Module) -> None:
    """Xavier initialisation: weights from U(-b, b), b² = 6 / (fan-in + fan-out), biases 0.

    It keeps the size of signals and of gradients through layers whose
    activation is nearly linear around 0 (Glorot and Bengio, "Understanding the
    difficulty of training deep feedforward neural networks", 2010, equation 16).
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


INITIALISATIONS = {"he": init_he, "xavier": init_xavier}


class LeNet5Padded(nn.Module):
    """Seed document 002: LeNet-5 with 16×6×6 numbers before the full connections.

    N×1×32×32 to N×10 logits; 82,826 parameters. The document gives 32×32
    inputs, 5×5 kernels and 16×6×6 numbers, which fit together only with
    padding, and does not say where: here C1 pads by 2, as is common for
    28×28 pictures. `init` is "he" or "xavier", between which the document
    leaves the choice; He is the default, for the reason in `init_he`.
    """

    arch = "lenet5-padded"
    reads, special = "32×32", "C1 padded: 16×6×6 go to C5"
    mean, std = LeNet5.mean, LeNet5.std

    def __init__(self, num_classes: int = 10, init: str = "he"):
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)  # 156 parameters
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)  # 2,416
        self.c5 = nn.Linear(16 * 6 * 6, 120)  # 69,240
        self.f6 = nn.Linear(120, 84)  # 10,164
        self.output = nn.Linear(84, num_classes)  # 850
        self.apply(INITIALISATIONS[init])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(F.max_pool2d(self.c1(x), 2))  # C1 N×6×32×32, S2 N×6×16×16
        x = F.relu(F.max_pool2d(self.c3(x), 2))  # C3 N×16×12×12, S4 N×16×6×6
        x = x.flatten(1)  # N×576
        x = F.relu(self.c5(x))  # N×120
        x = F.relu(self.f6(x))  # N×84
        return self.output(x)  # N×10


class LeNet5Conv(nn.Module):
    """Seed document 001: LeNet-5 whose C5 is a convolution, as in the paper.

    N×1×32×32 to N×10 logits; 61,706 parameters. A larger picture, N×1×H×W with
    sides of at least 32, gives a map of answers, N×10×h×w: one for each 32×32
    window, four pixels apart (the paper's space displacement network, section
    VII). The document names average pooling, then says that it takes the
    maximum; we do the latter. It does not name its activation; here ReLU.
    """

    arch = "lenet5-conv"
    reads, special = "32×32", "C5 a convolution; or larger"
    mean, std = LeNet5.mean, LeNet5.std

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, kernel_size=5)  # 156 parameters
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)  # 2,416
        self.c5 = nn.Conv2d(16, 120, kernel_size=5)  # 48,120
        self.f6 = nn.Linear(120, 84)  # 10,164
        self.output = nn.Linear(84, num_classes)  # 850
        self.apply(init_he)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(convolve_and_pool(self.c1, x))  # C1 N×6×28×28, S2 N×6×14×14
        x = F.relu(convolve_and_pool(self.c3, x))  # C3 N×16×10×10, S4 N×16×5×5
        x = F.relu(self.c5(x))  # N×120×1×1, or N×120×h×w
        x = x.movedim(1, -1)  # the full connections read the last axis: N×h×w×120
        x = F.relu(self.f6(x))  # N×h×w×84
        x = self.output(x).movedim(-1, 1)  # N×10×h×w
        return x.flatten(1) if x.shape[2:] == (1, 1) else x


class LeNetGAP(nn.Module):
    """Seed document 003: LeNet with average pooling, and global average pooling before F6.

    N×1×32×32 to N×10 logits; 15,626 parameters. The document's network reads
    28×28 pictures from -1 to 1, so this one crops the two pixels of background
    that surround ours.
    """

    arch = "lenet-gap"
    reads, special = "28×28", "average pooling, also before C5"
    mean, std = 0.5, 0.5

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)  # 156 parameters
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)  # 2,416
        self.c5 = nn.Linear(16, 120)  # 2,040
        self.f6 = nn.Linear(120, 84)  # 10,164
        self.output = nn.Linear(84, num_classes)  # 850
        self.apply(init_he)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, :, 2:-2, 2:-2]  # N×1×28×28
        x = F.avg_pool2d(F.relu(self.c1(x)), 2)  # N×6×28×28, N×6×14×14
        x = F.avg_pool2d(F.relu(self.c3(x)), 2)  # N×16×10×10, N×16×5×5
        x = x.mean(dim=(2, 3))  # global average pooling: N×16
        x = F.relu(self.c5(x))  # N×120
        x = F.relu(self.f6(x))  # N×84
        return self.output(x)  # N×10


class ConvTanh(nn.Module):
    """Seed document 004: a convolution followed by tanh."""

    def __init__(self, maps_in: int, maps: int, kernel_size: int = 5):
        super().__init__()
        self.conv = nn.Conv2d(maps_in, maps, kernel_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.conv(x))


class SubsampleAvgPool(nn.Module):
    """Seed document 004: subsampling by the mean of each 2×2, without parameters."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2)


def init_tanh_xavier(module: nn.Module) -> None:
    """Seed document 004: Xavier initialisation with tanh's gain of 5/3, biases 0.

    The gain makes up for what tanh takes from a signal that leaves its linear
    part (`nn.init.calculate_gain`).
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight, gain=nn.init.calculate_gain("tanh"))
        nn.init.zeros_(module.bias)


class LeNet5Tanh(nn.Module):
    """Seed document 004: the network of 1998 in today's modules: tanh, average pooling, linear outputs.

    N×1×32×32 to N×10 logits; 61,706 parameters. Differences from the paper, as
    in the document: subsampling without parameters, tanh in place of
    1.7159·tanh(2x/3), C3 reads all maps of S2, outputs are linear. The paper's
    own network is `lenet5-1998`.
    """

    arch = "lenet5-tanh"
    reads, special = "32×32", "tanh, average pooling"
    mean, std = LeNet5.mean, LeNet5.std

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.c1 = ConvTanh(1, 6)  # 156 parameters
        self.s2 = SubsampleAvgPool()
        self.c3 = ConvTanh(6, 16)  # 2,416
        self.s4 = SubsampleAvgPool()
        self.c5 = ConvTanh(16, 120)  # 48,120
        self.f6 = nn.Linear(120, 84)  # 10,164
        self.output = nn.Linear(84, num_classes)  # 850
        self.apply(init_tanh_xavier)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.s2(self.c1(x))  # C1 N×6×28×28, S2 N×6×14×14
        x = self.s4(self.c3(x))  # C3 N×16×10×10, S4 N×16×5×5
        x = self.c5(x).flatten(1)  # N×120
        x = torch.tanh(self.f6(x))  # N×84
        return self.output(x)  # N×10


class Teacher(nn.Module):
    """Not a LeNet-5: a larger network of today, from which `--teacher` lets LeNet-5 learn.

    N×1×32×32 to N×10 logits; 131,722 parameters, 27 times the multiplications
    of LeNet-5. Four convolutions with batch normalisation (Ioffe and Szegedy,
    2015), and the mean of each map (global average pooling) before the outputs.
    """

    arch = "teacher"
    reads, special = "28×28", "teaches lenet5: batch norm, 3×3"
    mean, std = LeNet5.mean, LeNet5.std

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.c1, self.n1 = nn.Conv2d(1, 32, kernel_size=5), nn.BatchNorm2d(32)
        self.c2, self.n2 = nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
        self.c3, self.n3 = nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
        self.c4, self.n4 = nn.Conv2d(64, 128, 3, padding=1, bias=False), nn.BatchNorm2d(128)
        self.output = nn.Linear(128, num_classes)
        self.apply(init_he)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, :, 2:-2, 2:-2]  # N×1×28×28: without the background around it
        # Batch normalisation after the pooling has a quarter of the work.
        x = F.relu(self.n1(convolve_and_pool(self.c1, x)))  # N×32×24×24, N×32×12×12
        x = F.relu(self.n2(self.c2(x)))  # N×64×12×12
        x = F.relu(self.n3(F.max_pool2d(self.c3(x), 2)))  # N×64×12×12, N×64×6×6
        x = F.relu(self.n4(F.max_pool2d(self.c4(x), 2)))  # N×128×6×6, N×128×3×3
        return self.output(x.mean(dim=(2, 3)))  # N×10


FAMILY = (LeNet5, LeNet5Padded, LeNet5Conv, LeNetGAP, LeNet5Tanh, LeNet1998, Teacher)
NETWORKS = {network.arch: network for network in FAMILY}


def build(name: str, num_classes: int = 10) -> nn.Module:
    """A new network by its `--arch` name. Raises UserError for an unknown one."""
    if name not in NETWORKS:
        raise UserError(f"no network is called {name!r}; there are: {', '.join(NETWORKS)}")
    try:
        return NETWORKS[name](num_classes)
    except ValueError as error:
        raise UserError(str(error)) from error


def count_multiply_adds(net: nn.Module) -> int:
    """Multiplications with a weight for one 32×32 picture, counted by PyTorch itself.

    For `lenet5-1998` the paper counts connections instead: `lenet1998.connections`.
    """
    from torch.utils.flop_counter import FlopCounterMode

    # On the meta device nothing is computed, and no layer takes its fast way for CPUs.
    with FlopCounterMode(display=False) as counter:
        copy.deepcopy(net).to("meta")(torch.zeros(1, 1, 32, 32, device="meta"))
    return counter.get_total_flops() // 2


def table_of_networks() -> str:
    """What `--arch list` prints: a line a network, at most 80 columns."""
    lines = [f"{'name':13}  {'parameters':>10} {'mult-adds':>10}  reads  what is special"]
    for name, network in NETWORKS.items():
        net = network()
        is_paper = network is LeNet1998
        work = sum(connections(net).values()) if is_paper else count_multiply_adds(net)
        lines.append(f"{name:13}  {count_parameters(net):10,} {work:10,}  {net.reads}  {net.special}")
    lines.append("of lenet5-1998: connections, as the paper counts them, in place of mult-adds")
    return "\n".join(lines)


def count_parameters(net: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def pick_device(name: str = "auto") -> torch.device:
    """The device for a name: auto takes CUDA, else MPS, else the CPU.

    Raises UserError for a device that this machine lacks.
    """
    if name == "cpu":
        return torch.device("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about drivers that nobody asked for
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, found in there.items() if found), "cpu"))
    if name not in there:
        raise UserError(f"no device is called {name!r}; there are: auto, cpu, cuda, mps")
    if not there[name]:
        raise UserError(f"this machine has no {name} device; --device auto takes what is there")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """What `epoch.backpropagate` rounds to: auto takes bfloat16 on x86 CPUs that multiply it.

    Raises UserError for a device that has no bfloat16.
    """
    if name == "auto":
        # Older versions of PyTorch do not tell.
        abilities = getattr(torch.cpu, "get_capabilities", dict)()
        is_able = any(abilities.get(ability) for ability in ("avx512_bf16", "amx_bf16"))
        name = "bfloat16" if device.type == "cpu" and is_able else "float32"
    has_it = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
    if name == "bfloat16" and not has_it:
        raise UserError(f"--precision bfloat16 cannot be had on {device.type} here: leave it out")
    return PRECISIONS[name]


def default_metadata(net: nn.Module) -> dict:
    """What a network's weights say of themselves when nobody knows more."""
    return {
        "arch": net.arch,
        "mean": net.mean,
        "std": net.std,
        "classes": [str(i) for i in range(net.output.out_features)],
    }


def weights_with_metadata(net: nn.Module, **metadata) -> OrderedDict:
    """A network's state dict on the CPU that carries its own description.

    The description travels in `_metadata[""]`, where PyTorch keeps a module's
    version: any program's `load_state_dict` accepts the file as it is.
    `metadata` adds to or overrides `default_metadata`; it has to be made of
    plain numbers, strings and lists, since `torch.load(weights_only=True)`
    refuses all else.
    """
    original = net.state_dict()
    weights = OrderedDict(
        # A dense copy in the ordinary order: the same bytes from every device and layout.
        (name, tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format))
        for name, tensor in original.items()
    )
    weights._metadata = copy.deepcopy(original._metadata)
    weights._metadata[""].update(default_metadata(net) | metadata)
    return weights


def to_bytes(value) -> bytes:
    """What torch.save would write to a file."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def save_weights(path, net: nn.Module, **metadata) -> None:
    """Write a network's weights to `path`, complete or not at all.

    Raises UserError if the file cannot be written; the old one is then untouched.
    """
    write_file(path, to_bytes(weights_with_metadata(net, **metadata)))


def load_weights(path, arch: str | None = None) -> tuple[nn.Module, dict]:
    """The network that a weights file describes, on the CPU, and its metadata.

    `arch`, where given, has to be the file's own architecture, and decides
    where a file without metadata could be of several.

    Raises UserError, in one line, for a file that is not there, is damaged, is
    not weights, holds code, is of another network, or has a weight that is not
    a finite number.
    """
    state, metadata = read_state_dict(path)
    state = without_wrapper(state)
    if metadata:
        check_metadata(path, metadata)
        if arch not in (None, metadata["arch"]):
            raise UserError(f"{path} holds weights of {metadata['arch']}, not of {arch}")
    else:
        metadata["arch"] = recognise(path, state, arch)
    net = build(metadata["arch"], class_count(path, state, metadata))
    wanted = net.state_dict()
    if shapes(state) != shapes(wanted):
        raise UserError(f"{path} is not of {net.arch}: {first_difference(state, wanted)}")
    for name, tensor in state.items():
        if not tensor.to(torch.float32).isfinite().all():  # 1e300 is infinite in a network
            raise UserError(f"{path}: {name} holds a value that is not a finite number")
    net.load_state_dict(state)
    return net, default_metadata(net) | metadata


def read_state_dict(path) -> tuple[OrderedDict, dict]:
    """The tensors in a file and its metadata, if it has ours, read without running any code in it."""
    hint = "train.py writes weights that can be read"
    if not os.path.exists(path):
        raise UserError(f"there are no weights at {path}; make some with: python train.py")
    data = read_file(path, LARGEST_WEIGHTS)
    try:
        state = unpickled(path, data, LARGEST_WEIGHTS)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # torch.load raises a dozen kinds for a file that is not its own
        if "GLOBAL" in str(error):  # the name of a class or function to be called
            raise UserError(
                f"{path} holds more than tensors, numbers and text, perhaps code, "
                f"and is not loaded; {hint}"
            ) from error
        raise UserError(f"{path} is not a weights file, or is damaged; {hint}") from error
    if not isinstance(state, dict) or not state:
        raise UserError(f"{path} holds no weights but {type(state).__name__}; {hint}")
    # A file can put anything in the place of an object's own `items`, but not of its class's.
    tensors = OrderedDict((name, plain_tensor(path, name, t)) for name, t in dict.items(state))
    written = getattr(state, "_metadata", None)
    written = dict.get(written, "") if isinstance(written, dict) else None
    is_ours = isinstance(written, dict) and "arch" in written
    return tensors, dict(dict.items(written)) if is_ours else {}


def plain_tensor(path, name, tensor) -> torch.Tensor:
    """One tensor of a state dict without whatever a file attached to it."""
    shown = one_line(name[:40]) if isinstance(name, str) else type(name).__name__
    if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
        raise UserError(
            f"{path} is not a plain state dict: {shown!r} is no tensor; "
            "train.py writes weights that can be read"
        )
    is_there = tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.is_nested
    if not is_there or tensor.dtype not in PLAIN_NUMBERS:
        raise UserError(f"{path}: {shown!r} is not a tensor of plain numbers")
    return torch.Tensor.detach(tensor)


def unpickled(path, data: bytes, largest: int, device="cpu"):
    """What torch.save wrote, without running any code in it.

    Raises UserError for an archive that would be unpacked to more than `largest`
    bytes, and a dozen kinds of errors for what torch.save did not write.
    """
    if zipfile.is_zipfile(io.BytesIO(data)):
        unpacked = unpacked_size(data)
        if unpacked > largest:
            raise UserError(f"{path} unpacks to {unpacked:,} bytes, which no LeNet needs")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith("data.pkl"):
                    check_pickle(io.BytesIO(archive.read(entry)))
    else:  # as before PyTorch 1.6: five pickles, then the numbers
        stream = io.BytesIO(data)
        for _ in range(5):
            check_pickle(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about odd files; we look at what came out
        return torch.load(io.BytesIO(data), map_location=device, weights_only=True)


def check_pickle(stream) -> None:
    """Raise ValueError for a pickle that uses a tuple again, or anything that may be one.

    A tuple that has a tuple twice, which has a tuple twice, and so on, is written in
    300 bytes. Where it is the key of a dictionary, Python would look at it for years.
    """
    usable, before = set(), None
    for code, argument, _ in pickletools.genops(stream):
        if code.name in ("BINPUT", "LONG_BINPUT"):
            (usable.add if before in USED_AGAIN else usable.discard)(argument)
        elif code.name in ("BINGET", "LONG_BINGET") and argument not in usable:
            raise ValueError("it uses a tuple again")
        before = code.name


def without_wrapper(state: OrderedDict) -> OrderedDict:
    """Names without the prefix that torch.compile or DistributedDataParallel gives them."""
    for prefix in ("_orig_mod.", "module."):
        if all(name.startswith(prefix) for name in state):
            state = OrderedDict((name.removeprefix(prefix), t) for name, t in state.items())
    return state


def shapes(state: dict) -> dict:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def first_difference(state: dict, wanted: dict) -> str:
    """In words, the first tensor in which two state dicts differ."""
    for name in wanted:
        if name not in state:
            return f"{name} is missing"
        if state[name].shape != wanted[name].shape:
            return f"{name} is {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}"
    extra = next(name for name in state if name not in wanted)
    return f"{one_line(extra)[:40]} does not belong to it"


def class_count(path, state: dict, metadata: dict) -> int:
    """The number of classes: as many as the last layer has outputs."""
    last = list(state.values())[-1]
    outputs = last.shape[0] if last.dim() else 0
    if "classes" in metadata and len(metadata["classes"]) != outputs:
        raise UserError(f"{path} names {len(metadata['classes'])} classes for {outputs} outputs")
    # The bound keeps a hostile file from asking for a layer of any size.
    return outputs if 1 <= outputs <= 10_000 else 10


def fits(state: dict, name: str, num_classes: int) -> bool:
    """Whether weights have the names and shapes of a network."""
    try:
        return shapes(state) == shapes(build(name, num_classes).state_dict())
    except UserError:  # a network that does not come with so many classes
        return False


def recognise(path, state: dict, arch: str | None) -> str:
    """The architecture of weights without metadata, from names and shapes alone."""
    number = class_count(path, state, {})
    fitting = [name for name in NETWORKS if fits(state, name, number)]
    if arch is None and len(fitting) > 1:
        raise UserError(f"{path} could be of {' or '.join(fitting)}: say which with --arch")
    if arch is None and not fitting:
        raise UserError(f"{path} does not say what network it is of, and its shapes fit none of ours")
    name = fitting[0] if arch is None else arch
    say_assumed(str(path), name)
    return name


@functools.cache  # a script may load its weights more than once
def say_assumed(path: str, name: str) -> None:
    say(f"{path} does not say what it is: assuming {name} and its own normalisation")


def check_metadata(path, metadata: dict) -> None:
    """Raise UserError unless the metadata can be relied upon."""
    arch = metadata["arch"]
    if not isinstance(arch, str):
        raise UserError(f"{path} is of a {type(arch).__name__}, which is not known here")
    if arch not in NETWORKS:
        raise UserError(f"{path} is of {one_line(arch[:40])!r}, which is not known here")
    check_description(path, metadata)
