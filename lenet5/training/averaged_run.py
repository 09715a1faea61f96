"""A training by AdamW that keeps averaged weights: of the finder, and of the network of numbers."""

import time
from pathlib import Path

import torch
from torch import nn

from lenet5.runtime.atomic_files import make_folder, write_file
from lenet5.runtime.errors import UserError
from lenet5.training.checkpoint import check_like, optimizer_state, read_checkpoint, write_checkpoint
from lenet5.training.ema import EMA
from lenet5.training.optimizers import make_optimizer, set_rate
from lenet5.training.run_folder import csv_text


class AveragedRun:
    """A network in training, its optimiser, averaged weights and history, in the run's folder.

    `settings` has the peak learning rate `lr`. An interrupted run resumes with the same settings;
    other settings raise UserError.
    """

    def __init__(
        self,
        net: nn.Module,
        settings: dict,
        folder: Path,
        *,
        decay: float,
        columns: tuple[str, ...],
        max_grad_norm: float | None = None,
    ):
        self.net, self.settings, self.folder, self.columns = net, settings, folder, columns
        self.optimizer = make_optimizer(net, "adamw", settings["lr"])
        self.average, self.max_grad_norm = EMA(net, decay), max_grad_norm
        self.history: list[dict] = []
        self.losses: list[torch.Tensor] = []
        self.started = time.perf_counter()
        make_folder(folder)
        found = {}

        def restore(state: dict) -> None:
            found["settings"] = state["settings"]
            if found["settings"] != settings:
                return  # perhaps of another network
            changing = {"settings": (dict,), "optimizer": (dict,), "history": [self.row()]}
            check_like(state, self.state() | changing)
            self.net.load_state_dict(state["net"])
            lr = self.settings["lr"]
            self.optimizer.load_state_dict(optimizer_state(state["optimizer"], net, "adamw", lr))
            self.average.net.load_state_dict(state["average"])
            self.average.steps = state["steps"]
            self.history = state["history"]

        path = folder / "checkpoint.pth"
        if read_checkpoint(path, restore) and found["settings"] != settings:
            raise UserError(f"{path} is of a run with other flags; give the same, or another --run")

    def row(self) -> dict:
        return dict.fromkeys(self.columns, (int, float))

    def state(self) -> dict:
        """What a checkpoint holds."""
        return {
            "settings": self.settings,
            "net": self.net.state_dict(),
            "average": self.average.net.state_dict(),
            "steps": self.average.steps,
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }

    def step(self, loss: torch.Tensor, rate: float) -> None:
        """Learn from a loss at this share of the peak learning rate."""
        set_rate(self.optimizer, self.settings["lr"] * rate)
        self.optimizer.zero_grad()
        loss.backward()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.max_grad_norm)
        self.optimizer.step()
        self.average.add(self.net)
        self.losses.append(loss.detach())

    def keep(self, row: dict) -> None:
        """Print a row, add it to metrics.csv, and write a checkpoint."""
        row["train_loss"] = torch.stack(self.losses).mean().item()
        row["seconds"] = time.perf_counter() - self.started
        row = {name: row[name] for name in self.columns}
        self.history.append(row)
        print("  ".join(f"{name} {value:.5g}" for name, value in row.items()), flush=True)
        write_checkpoint(self.folder / "checkpoint.pth", self.state())
        write_file(self.folder / "metrics.csv", csv_text(self.history, self.columns).encode())
        self.losses, self.started = [], time.perf_counter()
