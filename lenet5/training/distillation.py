"""Knowledge distillation: a teacher's probabilities as targets."""

from typing import Any

import torch
from torch import nn

from lenet5.data.augmentation import AUGMENTATIONS, Augmentation
from lenet5.evaluation.metrics import BATCH_SIZE
from lenet5.imaging.inputs import Inputs
from lenet5.networks.fast_forward import forward
from lenet5.networks.registry import NETWORKS
from lenet5.networks.weights import load_weights
from lenet5.runtime import distributed
from lenet5.runtime.errors import UserError, say
from lenet5.training.epoch_plan import distort, random_distortions
from lenet5.training.recipes import Settings
from lenet5.training.settings import file_of
from lenet5.training.training_pool import Data


class SoftTargets:
    """A teacher's probabilities for the training images, each in `VIEWS` random distortions.

    A small network learns more from a larger one's probabilities than from labels (Hinton,
    Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015), most of all from
    those for the very picture that it sees and over a long training (Beyer et al.,
    "Knowledge distillation: A good teacher is patient and consistent", 2022). The teacher
    sees each view once; the epochs go through the views in turn.
    """

    VIEWS = 20

    def __init__(
        self,
        teacher: nn.Module,
        inputs: torch.Tensor | Inputs,
        augmentation: Augmentation,
        seed: int,
        temperature: float = 1.0,
    ):
        self.teacher, self.inputs, self.augmentation = teacher, inputs, augmentation
        self.seed, self.temperature = seed, temperature
        self.of_view: dict[int, torch.Tensor] = {}

    def of_epoch(self, epoch: int) -> tuple:
        """An epoch's warps and strokes for `distort`, and the teacher's probabilities, N×classes."""
        view = epoch % self.VIEWS
        generator = torch.Generator().manual_seed((self.seed * self.VIEWS + view) % 2**63)
        count, side, device = len(self.inputs), self.inputs.shape[-1], self.inputs.device
        warps, strokes = random_distortions(count, self.augmentation, side, generator, device)
        if view not in self.of_view:
            self.of_view[view] = self.predict(warps, strokes)
        return warps, strokes, self.of_view[view]

    @torch.no_grad()
    def predict(self, warps: torch.Tensor, strokes: torch.Tensor | None) -> torch.Tensor:
        """The teacher's probabilities of the distorted inputs, N×classes; processes share the work."""
        self.teacher.eval()
        found, shard = [], distributed.shard(0, len(self.inputs))
        for rows in torch.arange(shard.start, shard.stop).split(BATCH_SIZE):
            batch = distort(self.inputs[rows], warps[rows], None if strokes is None else strokes[rows])
            found.append((forward(self.teacher, batch) / self.temperature).softmax(dim=1))
        return distributed.all_gather_rows(torch.cat(found)).to(self.inputs.device)


def make_soft_targets(settings: Settings, data: Data, device: torch.device) -> SoftTargets | None:
    """The soft targets of a run that has a teacher, whose weights have to fit the run."""
    path, augmentation = file_of(settings, "teacher"), AUGMENTATIONS[settings.augment]
    if path is None or augmentation is None:  # without a teacher; `check_together` refuses the other
        return None
    teacher, metadata = load_weights(path)
    network: Any = NETWORKS[settings.arch]  # a class with a mean and a std
    if (metadata["mean"], metadata["std"]) != (network.mean, network.std):
        raise UserError(
            f"{path} was trained on other inputs than {settings.arch} reads "
            f"(mean {metadata['mean']}, not {network.mean}): it cannot teach it"
        )
    if metadata["classes"] != data.classes:
        raise UserError(f"{path} knows other classes than {settings.dataset} has")
    held_out = metadata.get("val_size", 0) if metadata.get("seed") == settings.seed else 0
    if held_out < settings.val_size:
        say(f"validation images may have been among those that {path} was trained on")
    data.pool.expand()  # so that an image shown twice in an epoch has two distortions
    temperature = settings.temperature or 1.0
    return SoftTargets(teacher.to(device), data.pool.inputs, augmentation, settings.seed, temperature)
