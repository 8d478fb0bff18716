"""Loads the kind of data that a method needs, from the data settings."""

from __future__ import annotations

from i2i.batch import Domain, Labels, Needs
from i2i.config.schema import DataConfig
from i2i.data.identity import ImageList
from i2i.data.one_domain import OneDomain
from i2i.data.points import POINTS, Points
from i2i.data.training_set import TrainingData
from i2i.data.two_domains import TwoDomains
from i2i.errors import DataError


def load_training_set(
    config: DataConfig,
    needs: Needs,
    *,
    image_size: int,
    labels: Labels = "ignored",
    masks: bool = False,
    pairs: bool = False,
    input_domain: Domain = "A",
    listed: ImageList | None = None,
) -> TrainingData:
    """Finds the training data that ``config`` names.

    Args:
        config: the settings of data.
        needs: what the method learns from.
        image_size: side of a training crop, in pixels.
        labels: whether the method uses labels; it can with one domain only.
        masks: whether the method uses masks; it can with pairs only.
        pairs: whether a method that learns from unpaired images uses the pairs that are among them.
        input_domain: the domain that the method translates, where it learns one direction from pairs.
        listed: the images of a run that goes on: these in this order and no others, also where some are gone.

    Raises:
        DataError: there is no usable data; says which folder and why.
        ConfigError: it asks for what the data does not have.
    """
    if needs == "one domain" and config.a is not None:
        raise DataError("this recipe learns one domain: give --data (data.path) in the place of two folders")
    if needs == "one domain" and config.path in POINTS:
        return Points.named(config, image_size)
    if needs == "one domain":
        return OneDomain.read(config, image_size, labels, listed)
    if config.path in POINTS:
        raise DataError(f"{config.path} holds points, and this recipe translates images: give a folder")
    paired = needs == "paired"
    return TwoDomains.read(
        config, image_size, paired=paired, masks=masks, pairs=pairs, input_domain=input_domain, listed=listed
    )
