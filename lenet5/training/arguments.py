"""The flags of train.py."""

from lenet5.data.augmentation import AUGMENTATIONS
from lenet5.data.datasets import DATASETS
from lenet5.networks.definition import INITIALISATIONS
from lenet5.networks.devices import PRECISIONS
from lenet5.networks.registry import NETWORKS
from lenet5.runtime.cli import ArgumentParser, number
from lenet5.training.optimizers import OPTIMIZERS
from lenet5.training.recipes import RECIPES
from lenet5.training.schedules import SCHEDULES


def make_parser() -> ArgumentParser:
    """Flags without defaults, so that those which were given can be told apart."""
    parser = ArgumentParser(
        prog="train.py",
        description="Train LeNet-5; without flags: 10 epochs on MNIST.",
        argument_default=None,
    )
    defaults = RECIPES["default"]
    add = parser.add_argument
    add("--arch", choices=[*NETWORKS, "list"], help="the network (lenet5); list tells of each")
    add("--recipe", choices=list(RECIPES), help="a named set of defaults for the flags below")
    add(
        "--dataset",
        metavar="NAME",
        help=f"what to learn (mnist): {', '.join(DATASETS)}, or a folder with a sub-folder a class",
    )
    add("--data-dir", metavar="DIR", help="where data sets are kept (data)")
    add("--epochs", type=number(int, 1, 100_000), help=f"({defaults['epochs']})")
    add("--batch-size", type=number(int, 1, 60_000), help=f"({defaults['batch_size']})")
    add("--lr", type=number(float, 1e-9, 1e6), help=f"peak learning rate ({defaults['lr']})")
    add("--optimizer", choices=list(OPTIMIZERS), help=f"({defaults['optimizer']})")
    add("--scheduler", choices=list(SCHEDULES), help=f"({defaults['scheduler']})")
    add("--augment", choices=list(AUGMENTATIONS), help=f"({defaults['augment']})")
    add("--fonts", metavar="FILE", help="digits in fonts to learn too, such as fonts/digits.npz")
    add(
        "--few-pixels",
        action="store_true",
        default=None,
        help="learn beside the data set what is left of its digits in 8 to 12 pixels a side",
    )
    add(
        "--non-digits",
        action="store_true",
        default=None,
        help="learn to be sure of nothing for scribbles, shapes, pairs of digits, letters in --fonts",
    )
    add(
        "--val-size",
        type=number(int, 0, 59_999),
        help="training images held out to choose the best epoch (5000); 0 keeps the last epoch",
    )
    add("--seed", type=number(int, 0, 2**63 - 1), help="of weights, split, order, distortions (0)")
    add("--device", choices=["auto", "cpu", "cuda", "mps"], help="(auto: cuda, else mps, else cpu)")
    add("--resume", metavar="RUN", help="go on with a run, by its folder or name")
    add("--init", choices=list(INITIALISATIONS), help="initial weights (the network's own choice)")
    add("--init-from", metavar="WEIGHTS", help="start from these weights")
    add("--teacher", metavar="WEIGHTS", help="learn from this network's answers, not from labels")
    add(
        "--temperature",
        type=number(float, 0.01, 100.0),
        help="soften the teacher's answers by dividing its logits (1)",
    )
    add(
        "--average",
        type=number(float, 0.0, 0.999999),
        help="keep averaged weights; the share of the mean that a step leaves, such as 0.999",
    )
    add(
        "--weight-decay",
        type=number(float, 0.0, 1.0),
        help="(0.01 with adamw, which takes it from the weights; else 0, added to the gradient)",
    )
    add("--label-smoothing", type=number(float, 0.0, 0.9), help="(0)")
    add(
        "--precision",
        choices=[*PRECISIONS, "auto"],
        help="of the products in training (float32); auto: bfloat16 on CPUs that multiply it",
    )
    add("--output", metavar="FILE", help="the trained weights (lenet5_model.pth)")
    add("--plot", metavar="FILE", help="the training curves (training_results.png)")
    add(
        "--tensorboard",
        action="store_true",
        default=None,
        help="write an event file for TensorBoard into the run's folder (its package is optional)",
    )
    add("--max-steps", type=number(int, 1), help="end after so many optimiser steps")
    add("--dry-run", action="store_true", default=None, help="a few steps; no weights are written")
    add("--compare", nargs="*", metavar="RUN", help="compare finished runs instead (all in runs/)")
    return parser
