"""From a configuration to the kind of data that its method needs."""

from __future__ import annotations

from i2i.batch import Needs
from i2i.config.schema import Config
from i2i.data.one_domain import OneDomain
from i2i.data.points import POINTS, Points
from i2i.data.training_set import TrainingData
from i2i.data.two_domains import TwoDomains
from i2i.errors import DataError


def load_training_set(config: Config, needs: Needs) -> TrainingData:
    """Finds and reads the training data that ``config.data`` names.

    Raises:
        DataError: there is no usable data; says which folder and why.
    """
    if needs == "one domain" and config.data.a is not None:
        raise DataError(f"{config.arch} learns one domain: give --data (data.path) in the place of two folders")
    if needs == "one domain":
        return Points.named(config) if config.data.path in POINTS else OneDomain.read(config)
    if config.data.path in POINTS:
        raise DataError(f"{config.data.path} holds points, and {config.arch} translates pictures: give a folder")
    return TwoDomains.read(config, paired=needs == "paired")
