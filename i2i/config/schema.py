"""The configuration of a model, and of the run that trains it: typed sections; unknown keys are errors.

A weight file contains a ``ModelConfig``, a run folder a ``Config``, which includes the model's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from i2i.bounds import MAX_PIXELS
from i2i.config import yaml_text
from i2i.config.components import Count, Weight
from i2i.display import one_line
from i2i.errors import ConfigError, DataError
from i2i.kinds import Kind
from i2i.needs import is_built_in

Channels = Annotated[int, Field(ge=1, le=1024, strict=True)]
"""Images that programs show have 1, 3 or 4; arrays and TIFF files have any number."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Byte = Annotated[int, Field(ge=0, le=255, strict=True)]
Background = tuple[Byte, Byte, Byte]
Fit = Literal["square", "shorter"]
Side = Annotated[int, Field(ge=1, le=4096, strict=True)]
Many = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
if TYPE_CHECKING:
    BatchSize = int  # which it is for all that a run has to do with: its start settles "auto"
else:
    BatchSize = Many | Literal["auto"]
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Device = Annotated[str, Field(min_length=1)]
""""auto", "cpu", or the name that torch has for an accelerator; the machine says which there are (device.py)."""
Line = Annotated[str, AfterValidator(one_line), Field(max_length=4000)]
"""Text that is shown: whoever wrote the file, it stays one line and no terminal obeys it."""


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values never change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Augmentation(BaseModel):
    """An albumentations transform by its class name; every other key is one of its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str


class Depth(Section):
    """The values of a domain's images: ``low`` to ``high`` are -1 to 1 in the networks; those beyond are clipped."""

    kind: Kind = "8-bit"
    low: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    high: Annotated[float, Field(allow_inf_nan=False)] = 255.0

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"the range {self.low:g} to {self.high:g} is empty: low has to be below high")
        if self.kind == "8-bit" and (self.low, self.high) != (0, 255):
            raise ValueError("8-bit images have the range 0 to 255")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether images are those that programs show."""
        return self.kind == "8-bit"


class ImageConfig(Section):
    """What the images of a model are like, as its weight file says it.

    ``labels``: the names of those that it was trained with. ``fit`` and ``background`` as in ``DataConfig``.
    """

    channels_a: Channels
    channels_b: Channels
    depth_a: Depth = Depth()
    depth_b: Depth = Depth()
    labels: tuple[str, ...] = ()
    fit: Fit = "square"
    background: Background = (255, 255, 255)

    @property
    def is_plain(self) -> bool:
        """Whether the images of all domains are those that programs show."""
        return self.depth_a.is_plain and self.depth_b.is_plain


PLACES = ("path", "a", "b", "test_a", "test_b", "mask", "test_mask")
"""The settings of data that name folders."""


class DataConfig(Section):
    """Where images come from and how they are brought to the training size.

    One-domain sets have only A. Their ``channels_a`` "auto" (1 where no image of a fixed sample has colours) and
    their ``labels`` None are filled in from the data when a run starts; empty ``labels`` leave labels unused that a
    method could use. Images with more than ``max_pixels`` are not decoded. ``memory_gib`` is for the decoded images of
    all domains together, in each process; a set that needs more may take ``disk_gib`` in the cache folder until the run
    ends. ``jpeg_drafts``: to learn from squares of less than half its sides, a JPEG is decoded at a half, a quarter or
    an eighth of its size, but at twice theirs at least; their pixels differ slightly. ``on_device``: the decoded
    images, which have one shape, are copied once to the device that trains, and batches are cut out of them there: the
    same bits, without loader workers and ``memory_gib``. Off, because it has not been measured on a GPU yet.

    Two domains have a depth each, which is found in the data when a run starts, unless it is given. Where it is not
    8-bit, the channels are those of the files, and ``channels_a`` and ``channels_b`` are left at 3 or agree.

    Two domains may also be two folders of any name, ``a`` and ``b``; ``path`` is empty then. Held-out images come
    from ``test_a`` and ``test_b``, or are the fraction ``held_out`` of each folder, by a hash of the file's name.
    ``mask`` has masks of pairs, and ``test_mask`` those of pairs in ``test_a`` and ``test_b``.
    """

    path: str = "openmoji"
    a: str | None = None
    b: str | None = None
    test_a: str | None = None
    test_b: str | None = None
    mask: str | None = None
    test_mask: str | None = None
    held_out: Rate = 0.1
    load_size: Annotated[int, Field(ge=1, le=65_536, strict=True)] = 286
    fit: Fit = "square"
    jpeg_drafts: bool = False
    flip: bool = True
    augment: tuple[Augmentation, ...] = ()
    channels_a: Channels | Literal["auto"] = 3
    channels_b: Channels = 3
    depth_a: Depth | None = None
    depth_b: Depth | None = None
    labels: tuple[str, ...] | None = None
    background: Background = (255, 255, 255)
    max_pixels: Annotated[int, Field(ge=1, le=2**40, strict=True)] = MAX_PIXELS
    memory_gib: Annotated[float, Field(ge=0, le=1e6)] = 2.0
    disk_gib: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    workers: Annotated[int, Field(ge=0, le=64, strict=True)] | Literal["auto"] = "auto"
    on_device: bool = False

    @model_validator(mode="after")
    def _augments_where_images_are(self) -> Self:
        if self.on_device and self.augment:
            raise ValueError(
                f"data.augment ({self.augment[0].name}) changes images on the host, and with data.on_device none are "
                "there: leave out one of them"
            )
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        for one, other in (("a", "b"), ("test_a", "test_b")):
            for given, missing in ((one, other), (other, one)):
                if getattr(self, given) is not None and getattr(self, missing) is None:
                    raise ValueError(f"data.{given} is given and data.{missing} is not: give both folders")
        if self.test_a is not None and self.a is None:
            raise ValueError("data.test_a and data.test_b go with data.a and data.b: give those, or data.path alone")
        if self.mask is not None and self.a is None:
            raise ValueError("data.mask goes with data.a and data.b; in data.path, masks lie in trainMask/")
        if self.test_mask is not None and self.test_a is None:
            raise ValueError(
                "data.test_mask goes with data.test_a and data.test_b; data.mask is for parts of data.a too"
            )
        if self.a is not None and self.path:
            raise ValueError(
                f"data.path {self.path} and data.a name the data twice: give data.path, or data.a and data.b"
            )
        if self.a is None and not self.path:
            raise ValueError("data.path is empty: name a folder or a built-in set, or give data.a and data.b")
        return self

    @property
    def title(self) -> str:
        """What the data is called in messages."""
        return self.path or f"{self.a} and {self.b}"

    def absolute(self) -> DataConfig:
        """The same with folders that mean the same from every working directory; built-in names stay names."""
        named = {key: getattr(self, key) for key in PLACES}
        folders = {key: str(Path(name).absolute()) for key, name in named.items() if name and not is_built_in(name)}
        return self.model_copy(update=folders)

    def require_there(self) -> None:
        """Refuses to go on with data that is no longer where it was.

        Raises:
            DataError: a folder is not there.
        """
        for key in PLACES:
            name = getattr(self, key)
            if name and not is_built_in(name) and not Path(name).is_dir():
                option = "--" + key.replace("path", "data").replace("_", "-")
                raise DataError(f"{name}: no such folder; if the data of this run has moved, add {option} FOLDER")

    @property
    def name(self) -> str:
        """The ``title`` without the paths of folders."""
        folders = [self.path] if self.a is None or self.b is None else [self.a, self.b]
        return " and ".join(Path(folder).resolve().name for folder in folders)

    @property
    def images(self) -> ImageConfig:
        """What images are like, once it is known.

        Raises:
            ConfigError: their channels are left to the data, and no data was read.
        """
        if self.channels_a == "auto":
            raise ConfigError("data.channels_a is auto, which only noise-to-image recipes support: set it to 1, 3 or 4")
        return ImageConfig(
            channels_a=self.channels_a,
            channels_b=self.channels_b,
            depth_a=self.depth_a or Depth(),
            depth_b=self.depth_b or Depth(),
            labels=self.labels or (),
            fit=self.fit,
            background=self.background,
        )


class OptimizerConfig(Section):
    """One player's optimiser.

    ``betas`` are adam's, ``alpha``, the decay of the mean square, is rmsprop's, and ``momentum`` sgd's.
    """

    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2e-4
    betas: tuple[Rate, Rate] = (0.5, 0.999)
    alpha: Rate = 0.99
    momentum: Rate = 0.0

    def idle(self) -> dict[str, str]:
        """Which settings this optimiser does not read, each with the way out."""
        owners = {"betas": "adam", "alpha": "rmsprop", "momentum": "sgd"}
        return {key: f"{self.name} has none: set name={owner}" for key, owner in owners.items() if owner != self.name}


class ScheduleConfig(Section):
    """The learning rate over the run: constant for a fraction ``constant`` of it, then linear to zero.

    For a fraction ``warmup`` it first rises, from a twentieth.

    ``over``: "steps" measures the run in steps; "budget" in whichever of steps and ``training.max_time`` is further
    advanced, so that a run cut by the clock ends with its rate at zero all the same.
    """

    constant: Fraction = 0.5
    warmup: Fraction = 0.0
    over: Literal["steps", "budget"] = "steps"

    @model_validator(mode="after")
    def _rises_before_it_falls(self) -> Self:
        if self.warmup > self.constant:
            raise ValueError(
                f"training.schedule.warmup {self.warmup} is longer than training.schedule.constant {self.constant}, "
                "after which the rate falls: set a shorter one"
            )
        return self


class AverageConfig(Section):
    """The moving average of the generators' weights, whose lengths are in images that the generator has trained on.

    ``half_life``: weights that lie so far back count half. ``start``: until then the average is a copy of the weights.
    ``ramp``: the half-life is at most this fraction of the images so far, so that the average of a short run does not
    remember its start; None leaves it as it is.
    """

    half_life: Annotated[float, Field(gt=0, le=1e12)]
    start: Weight = 0.0
    ramp: Annotated[float, Field(gt=0, le=1)] | None = None


class TrainingConfig(Section):
    """The loop: length, batch, precision, averaging and cadences. Times are in seconds.

    ``batch_size`` "auto" becomes the largest power of two that fits into the memory that is free when a run starts.
    ``accumulate``: micro-batches of ``batch_size`` whose gradients are added up before an optimiser steps. Batch norm
    and DRAGAN's penalty see each micro-batch alone. ``checkpoint_activations``: generators that translate images keep
    the outputs of their stages alone for the backward pass, which computes the rest again, to the same bits, in more
    time and less memory. ``deterministic``: only operations that give the same bits each time are used; without it, an
    accelerator is faster and a resumed run on it is no longer exact. ``graphs``: on CUDA, steps are recorded once and
    replayed, with the same bits, where the method can be; off until it has been measured there. ``compile``: networks
    become kernels of their own, which takes minutes before the first step and changes the last bits. ``threads`` of the
    CPU: "auto" is what torch takes here, or fewer where a probe at the start finds that more do not pay, as on busy
    cores; a run keeps the number that it started with, on which its sums depend.
    ``rank_timeout``: how long a process waits for another one before it counts that one as lost; rank 0 has to be done
    with an evaluation, previews or a checkpoint by then.
    ``start_from``: a run folder or weight file whose networks this run starts with, and ``start_weights``: their moving
    "average", or the "last" weights.
    """

    start_from: str | None = None
    start_weights: Literal["average", "last"] = "average"
    epochs: Count | None = None
    steps: Count | None = None
    max_time: Annotated[float, Field(gt=0)] | None = None
    batch_size: BatchSize = 1
    accumulate: Many = 1
    seed: Seed = 0
    device: Device = "auto"
    threads: Annotated[int, Field(ge=1, le=4096, strict=True)] | Literal["auto"] = "auto"
    precision: Precision = "auto"
    checkpoint_activations: bool = False
    deterministic: bool = True
    graphs: bool = False
    compile: bool = False
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    ema: AverageConfig | None = None
    schedule: ScheduleConfig = ScheduleConfig()
    log_every: Count = 50
    sample_every: Count = 500
    sample_count: Annotated[int, Field(ge=1, le=1000, strict=True)] = 6
    checkpoint_seconds: Weight = 300.0
    keep_checkpoints: Count = 2
    rank_timeout: Annotated[float, Field(ge=1, le=1e6)] = 600.0

    @property
    def fills_memory(self) -> bool:
        """Whether the batch size is not settled yet."""
        return not isinstance(self.batch_size, int)

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give one of training.steps and training.epochs, and not both")
        return self

    @model_validator(mode="after")
    def _compiled_whole(self) -> Self:
        if self.compile and (self.checkpoint_activations or self.accumulate > 1):
            raise ValueError(
                "training.compile does not go with training.checkpoint_activations or training.accumulate, which "
                "compute parts of a network again; choose one"
            )
        return self

    @model_validator(mode="after")
    def _something_to_start_from(self) -> Self:
        if self.start_from is None and self.start_weights != "average":
            raise ValueError("training.start_weights would have no effect; give training.start_from (--from)")
        return self


class HealthConfig(Section):
    """The doctor, which looks at a few held-out images, what becomes of them, and what discriminators say.

    ``every``: after so many steps, and at the end of the run.
    """

    enabled: bool = True
    every: Count = 250


class EvaluationConfig(Section):
    """Evaluation during training, on held-out images.

    ``every`` so many steps, and at the end; None: not at all. ``metrics``: those of ``i2i evaluate``. ``images``: at
    most so many, of the half of the held-out images that weights are chosen on. ``watch``: the metric whose best
    weights are kept; of several directions the mean counts. ``patience``: the run ends when it has not become better in
    so many evaluations. ``features``: the feature network of metrics that need one.
    """

    every: Count | None = None
    metrics: tuple[str, ...] = ("l1", "ssim", "swd", "alignment")
    images: Many = 64
    watch: str | None = None
    patience: Count | None = None
    features: str | None = None

    @model_validator(mode="after")
    def _watches_what_is_measured(self) -> Self:
        if self.watch is not None and self.every is None:
            raise ValueError("evaluation.watch would have no effect; give evaluation.every")
        if self.watch is not None and self.watch not in self.metrics:
            raise ValueError(f"evaluation.watch {self.watch} is none of evaluation.metrics: {', '.join(self.metrics)}")
        if self.patience is not None and self.watch is None:
            raise ValueError("evaluation.patience would have no effect; give evaluation.watch")
        return self


class DiscriminatorAugmentation(Section):
    """Augmentation of what discriminators see, for small sets; ``data.augment`` is of the images that all networks see.

    ``mode``: "adaptive" follows each discriminator, "fixed" keeps ``strength``, and "auto" is adaptive where a set has
    few images for its method and scores have a sign, else "none". ``strength``: the probability of each transform, in
    the first step. ``target``: the mean sign of scores of real images that is held. ``rise``: in so many images the
    strength goes from 0 to 1, or in a tenth of the run where that is less.
    """

    mode: Literal["auto", "adaptive", "fixed", "none"] = "none"
    strength: Annotated[float, Field(ge=0, le=0.8)] = 0.0
    target: Annotated[float, Field(gt=-1, lt=1)] = 0.6
    rise: Annotated[float, Field(gt=0, le=1e12)] = 500_000

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        changed = {key for key in type(self).model_fields if getattr(self, key) != type(self).model_fields[key].default}
        if self.mode == "none" and changed:
            raise ValueError(f"discriminator_augmentation.{min(changed)} would have no effect; set its mode")
        if self.mode == "fixed" and not self.strength:
            raise ValueError("discriminator_augmentation.mode fixed does nothing at strength 0; give a strength")
        return self

    def idle(self) -> dict[str, str]:
        """The settings that have no effect in this mode, and what would give them one."""
        return dict.fromkeys(("target", "rise"), "set mode to adaptive") if self.mode == "fixed" else {}


class InferenceConfig(Section):
    """What layers that are random or see a batch do at inference; the weight file carries it.

    ``statistics``: batch norm uses the "running" ones of training, those of each "image" alone, or "standing" ones,
    which a generator that draws from noise takes from its own images before it samples. ``dropout`` goes on or not.
    ``seed`` decides the masks of dropout, noise, and the latents of standing statistics.
    """

    statistics: Literal["running", "image", "standing"] = "running"
    dropout: bool = False
    seed: Seed = 0


class ModelConfig(Section):
    """Everything that builds a model again: written into the header of its weight file.

    ``data``: the name of the set that it was trained on, without the path.
    """

    arch: Line
    about: Line = ""
    paper: Line = ""
    image_size: Side
    data: Line = ""
    images: ImageConfig
    method: dict[str, Any]
    networks: dict[str, dict[str, Any]]
    inference: InferenceConfig = InferenceConfig()


class Config(Section):
    """Everything that a run is: written to its folder and into its checkpoints."""

    arch: Line
    about: Line = ""
    paper: Line = ""
    image_size: Side
    data: DataConfig = DataConfig()
    method: dict[str, Any]
    networks: dict[str, dict[str, Any]]
    optimizers: dict[str, OptimizerConfig]
    training: TrainingConfig
    discriminator_augmentation: DiscriminatorAugmentation = DiscriminatorAugmentation()
    health: HealthConfig = HealthConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    inference: InferenceConfig = InferenceConfig()

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.data.load_size < self.image_size:
            raise ValueError(f"data.load_size {self.data.load_size} is smaller than image_size {self.image_size}")
        return self

    @property
    def model(self) -> ModelConfig:
        """What this run trains.

        Raises:
            ConfigError: as ``DataConfig.images``.
        """
        return ModelConfig(
            arch=self.arch,
            about=self.about,
            paper=self.paper,
            image_size=self.image_size,
            data=self.data.name,
            images=self.data.images,
            method=self.method,
            networks=self.networks,
            inference=self.inference,
        )


def to_yaml(config: Config) -> str:
    """The resolved configuration as YAML, in the order of the schema."""
    return yaml_text.dump(config.model_dump(mode="json"))
