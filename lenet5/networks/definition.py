"""The networks of model.py, for the package: no other module of it imports model."""

from model import (  # noqa: F401
    INITIALISATIONS,
    NAMES,
    LeNet5,
    LeNet5Conv,
    LeNet5Padded,
    LeNet5Tanh,
    LeNetGAP,
    build,
    count_multiply_adds,
    count_parameters,
    init_he,
    network_class,
)
