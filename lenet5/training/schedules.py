"""Learning-rate schedules: the share of the peak rate at a point of training."""

import math


def one_cycle(progress: float, warm_up: float = 0.2) -> float:
    """Share of the peak learning rate after `progress` (0 to 1) of all steps.

    Rises as half a cosine from 1/25 to 1 during the first fifth, then falls as
    half a cosine to nearly 0 (Smith and Topin, "Super-Convergence", 2018).
    """
    if progress < warm_up:
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * progress / warm_up)) / 2
    return max(1e-5, (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2)


def steps_of_1998(progress: float) -> float:
    """The paper's step sizes in its 20 passes, as shares of the first (section III.C)."""
    for until, share in ((2, 1.0), (5, 0.4), (8, 0.2), (12, 0.1)):
        if progress < until / 20:
            return share
    return 0.02


SCHEDULES = {
    "onecycle": one_cycle,
    "cosine": lambda progress: max(1e-5, (1 + math.cos(math.pi * progress)) / 2),
    "step": lambda progress: 0.1 ** ((progress >= 0.5) + (progress >= 0.75)),
    "constant": lambda progress: 1.0,
    "1998": steps_of_1998,
}
