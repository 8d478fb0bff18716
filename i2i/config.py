"""The typed configuration of a run: one schema, one YAML for each recipe, overrides by name, errors in one line.

Precedence, lowest first: the recipe of ``--arch``, what follows from the image size, ``--config``, named options,
``--set``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from i2i.components import Component, Count, Weight, without
from i2i.errors import ConfigError

Channels = Literal[1, 2, 3, 4]
Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Byte = Annotated[int, Field(ge=0, le=255, strict=True)]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda", "mps"]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values never change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Augmentation(BaseModel):
    """An albumentations transform by its class name; every other key is one of its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str


class DataConfig(Section):
    """Where pictures come from and how they are brought to the training size.

    One-domain sets have only A. Their ``channels_a`` "auto" (1 where no picture of a fixed sample has colours) and
    their ``labels`` None are filled in from the data when a run starts; empty ``labels`` leave labels unused that a
    method could use. ``memory_gib`` is for the decoded pictures of all domains together, in each process.

    Two domains may also be two folders of any name, ``a`` and ``b``; ``path`` is empty then. Held-out pictures come
    from ``test_a`` and ``test_b``, or are the fraction ``held_out`` of each folder, by a hash of the file's name.
    """

    path: str = "openmoji"
    a: str | None = None
    b: str | None = None
    test_a: str | None = None
    test_b: str | None = None
    held_out: Rate = 0.1
    load_size: Count = 286
    fit: Literal["square", "shorter"] = "square"
    flip: bool = True
    augment: tuple[Augmentation, ...] = ()
    channels_a: Channels | Literal["auto"] = 3
    channels_b: Channels = 3
    labels: tuple[str, ...] | None = None
    background: tuple[Byte, Byte, Byte] = (255, 255, 255)
    memory_gib: Annotated[float, Field(ge=0, le=1e6)] = 2.0
    workers: Annotated[int, Field(ge=0, le=64, strict=True)] | Literal["auto"] = "auto"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        for one, other in (("a", "b"), ("test_a", "test_b")):
            for given, missing in ((one, other), (other, one)):
                if getattr(self, given) is not None and getattr(self, missing) is None:
                    raise ValueError(f"data.{given} is given and data.{missing} is not: give both folders")
        if self.test_a is not None and self.a is None:
            raise ValueError("data.test_a and data.test_b go with data.a and data.b: give those, or data.path alone")
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

    def channels(self, domain: Literal["A", "B"]) -> int:
        """The channels of ``domain``.

        Raises:
            ConfigError: they were left to the data, and no data was read.
        """
        if self.channels_a == "auto":
            raise ConfigError("data.channels_a is auto, which only noise-to-image recipes know: give 1, 3 or 4")
        return self.channels_a if domain == "A" else self.channels_b


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

    ``over``: "steps" measures the run in steps; "budget" in whichever of steps and ``training.max_time`` is further
    advanced, so that a run cut by the clock ends with its rate at zero all the same.
    """

    constant: Fraction = 0.5
    over: Literal["steps", "budget"] = "steps"


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

    ``accumulate``: micro-batches of ``batch_size`` whose gradients are added up before an optimiser steps. Batch norm
    and DRAGAN's penalty see each micro-batch alone. ``deterministic``: only operations that give the same bits each
    time are used; without it, an accelerator is faster and a resumed run on it is no longer exact.
    """

    epochs: Count | None = None
    steps: Count | None = None
    max_time: Annotated[float, Field(gt=0)] | None = None
    batch_size: Count = 1
    accumulate: Count = 1
    seed: Annotated[int, Field(ge=0, le=2**63, strict=True)] = 0
    device: Device = "auto"
    precision: Precision = "auto"
    deterministic: bool = True
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    ema: AverageConfig | None = None
    schedule: ScheduleConfig = ScheduleConfig()
    log_every: Count = 50
    sample_every: Count = 500
    sample_count: Count = 6
    checkpoint_seconds: Weight = 300.0
    keep_checkpoints: Count = 2

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give one of training.steps and training.epochs, and not both")
        return self


class InferenceConfig(Section):
    """What layers that are random or see a batch do at inference; the weight file carries it.

    ``statistics``: batch norm uses the "running" ones of training, those of each "picture" alone, or "standing" ones,
    which a generator that draws from noise takes from its own pictures before it samples. ``dropout`` goes on or not.
    ``seed`` decides the masks of dropout, noise, and the latents of standing statistics.
    """

    statistics: Literal["running", "picture", "standing"] = "running"
    dropout: bool = False
    seed: Annotated[int, Field(ge=0, le=2**63, strict=True)] = 0


class Config(Section):
    """Everything that a run is: written to its folder, and into the header of its weight file."""

    arch: str
    about: str = ""
    paper: str = ""
    image_size: Annotated[int, Field(ge=1, le=4096, strict=True)]
    data: DataConfig = DataConfig()
    method: dict[str, Any]
    networks: dict[str, dict[str, Any]]
    optimizers: dict[str, OptimizerConfig]
    training: TrainingConfig
    inference: InferenceConfig = InferenceConfig()

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.data.load_size < self.image_size:
            raise ValueError(f"data.load_size {self.data.load_size} is smaller than image_size {self.image_size}")
        return self

    def changed(self, path: str, value: Any) -> Config:
        """A copy with the setting at dotted ``path`` replaced, validated again."""
        return parse_config(_merge(self.model_dump(mode="json"), _nested(path, value)))


def to_yaml(config: Config) -> str:
    """The resolved configuration as YAML, in the order of the schema."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=100)


def recipe_names() -> list[str]:
    """The names that ``--arch`` takes."""
    return sorted(file.name.removesuffix(".yaml") for file in _recipes() if file.name.endswith(".yaml"))


def read_recipe(arch: str) -> dict[str, Any]:
    """The shipped YAML of ``arch``.

    Raises:
        ConfigError: there is no such recipe.
    """
    for file in _recipes():
        if file.name == f"{arch}.yaml":
            return _parse_yaml(file.read_text(encoding="utf-8"), f"{arch}.yaml")
    raise ConfigError(f"unknown arch {arch!r}{_did_you_mean(arch, recipe_names())}; known: {', '.join(recipe_names())}")


def read_config(path: Path) -> dict[str, Any]:
    """A YAML file of settings.

    Raises:
        ConfigError: the file is missing or not a YAML mapping.
    """
    try:
        return _parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the configuration {path}: {getattr(error, 'strerror', None) or error}"
        ) from None


def resolve_config(
    arch: str | None,
    *,
    file: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> Config:
    """Merges a recipe with overrides and validates the result.

    Args:
        arch: a recipe's name; may be left out where ``file`` names one.
        file: settings of a ``--config`` file.
        options: named options by dotted path; None values are ignored.
        assignments: ``a.b=value`` strings, values in YAML.

    Raises:
        ConfigError: names the key path, the value, what is allowed and the nearest valid key.
    """
    overrides = dict(file or {})
    for path, value in (options or {}).items():
        if value is not None:
            overrides = _merge(overrides, _nested(path, value))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not all(part.strip() for part in path.split(".")):
            raise ConfigError(f"--set {assignment!r}: write it as key=value, for example training.batch_size=4")
        overrides = _merge(overrides, _nested(path.strip(), _parse_value(text, assignment)))
    named = overrides.pop("arch", None)
    arch = arch or named
    if not isinstance(arch, str):
        raise ConfigError(f"no recipe is named: use --arch with one of {', '.join(recipe_names())}")
    if named not in (None, arch):
        raise ConfigError(f"--arch {arch} and arch {named!r} name two recipes; give one")
    recipe = read_recipe(arch)
    _drop_length(recipe, overrides)
    _drop_path(recipe, overrides)
    config = parse_config(_merge(_merge(recipe, _settings_that_follow(recipe, _merge(recipe, overrides))), overrides))
    _refuse_idle(config)
    return config


def _settings_that_follow(recipe: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What changes with the image size (the load size in proportion, what networks tie to it) and with a network."""
    size, paper_size, chosen = wanted["image_size"], recipe["image_size"], wanted["networks"]
    if not isinstance(size, int) or not isinstance(chosen, Mapping):
        return {}  # validation will say what is wrong with them
    networks = {}
    families = _method_of(wanted).parts()
    for role, settings in recipe["networks"].items():
        section = chosen.get(role)
        name = section.get("name") if isinstance(section, Mapping) else None
        if role in families and isinstance(name, str) and (name != settings["name"] or size != paper_size):
            networks[role] = {"name": name} | families[role].named(name).settings_for(size)
    follows: dict[str, Any] = {"networks": networks}
    if size != paper_size:
        follows["data"] = {"load_size": round(size * recipe["data"]["load_size"] / paper_size)}
    return follows


def parse_config(tree: Mapping[str, Any]) -> Config:
    """Validates a whole configuration, components included, and fills in every default.

    Raises:
        ConfigError: as ``resolve_config``.
    """
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, "", Config)) from None
    method = _method_of(tree)
    families = method.parts()
    wrong = set(config.networks) ^ set(families)
    if wrong:
        raise ConfigError(f"networks: method {method.name} takes {', '.join(families)}; fix {', '.join(sorted(wrong))}")
    return config.model_copy(
        update={
            "method": _validate_component(method, config.method, "method"),
            "networks": {
                role: _validate_component(
                    families[role].named(_component_name(settings, f"networks.{role}")), settings, f"networks.{role}"
                )
                for role, settings in config.networks.items()
            },
        }
    )


def _refuse_idle(config: Config) -> None:
    """Refuses settings that have no effect, where they are not left at their default.

    Only what somebody asks for is looked at: a weight file or a run whose settings are older still loads.

    Raises:
        ConfigError: names the key, its value and the way out.
    """
    method = _method_of({"method": config.method})
    components: dict[str, tuple[type[Component], dict[str, Any]]] = {"method": (method, config.method)}
    for role, family in method.parts().items():
        settings = config.networks[role]
        components[f"networks.{role}"] = (family.named(settings["name"]), settings)
    for path, (component, settings) in components.items():
        _require_defaults(path, component.idle(settings, config.method), settings, component.schema())
    for player, optimizer in config.optimizers.items():
        settings = optimizer.model_dump(mode="json")
        _require_defaults(f"optimizers.{player}", optimizer.idle(), settings, OptimizerConfig)


def _require_defaults(path: str, idle: Mapping[str, str], settings: Mapping[str, Any], schema: type[BaseModel]) -> None:
    for key, way_out in idle.items():
        default = schema.model_fields[key].default
        default = list(default) if isinstance(default, tuple) else default  # as it is dumped
        if settings[key] != default:
            raise ConfigError(
                f"{path}.{key}: {settings[key]} would have no effect; {way_out}, or leave {key} at {default}"
            )


def differing_keys(one: Config, other: Config, ignoring: Sequence[str] = ()) -> list[str]:
    """Dotted paths of the settings in which two configurations differ, each with both values."""
    left, right = dict(_leaves(one.model_dump(mode="json"))), dict(_leaves(other.model_dump(mode="json")))
    differing = {path for path in left.keys() | right.keys() if left.get(path) != right.get(path)}
    paths = sorted(differing.difference(ignoring))
    return [f"{path} ({left.get(path)} against {right.get(path)})" for path in paths]


def _recipes() -> list[Any]:
    # A wheel carries the recipes inside the package; in a checkout they lie beside it.
    shipped = resources.files("i2i") / "configs"
    folder = shipped if shipped.is_dir() else Path(__file__).parent.parent / "configs"
    return list(folder.iterdir())


def _drop_length(recipe: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Steps given over a recipe in epochs (or the reverse) replace the recipe's length."""
    given = overrides.get("training") or {}
    if isinstance(given, dict) and (given.get("steps") is None) != (given.get("epochs") is None):
        recipe["training"] = without(recipe["training"], "steps", "epochs")


def data_config(settings: Mapping[str, Any]) -> DataConfig:
    """Validates the settings of data alone.

    Raises:
        ConfigError: as ``resolve_config``.
    """
    try:
        return DataConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_explain(error, "data.", DataConfig)) from None


def _drop_path(recipe: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Two folders given over a recipe replace the recipe's built-in set."""
    given = overrides.get("data") or {}
    if isinstance(given, dict) and any(given.get(key) is not None for key in ("a", "b")):
        recipe["data"] = {**recipe["data"], "path": ""}


def _method_of(tree: Mapping[str, Any]) -> type[Component]:
    from i2i.methods.base import Method

    settings = tree.get("method")
    return Method.named(_component_name(settings if isinstance(settings, Mapping) else {}, "method"))


def _component_name(settings: Mapping[str, Any], path: str) -> str:
    name = settings.get("name")
    if not isinstance(name, str):
        raise ConfigError(f"{path}.name is missing")
    return name


def _validate_component(component: type[Component], settings: Mapping[str, Any], path: str) -> dict[str, Any]:
    schema = component.schema()
    try:
        parsed = schema.model_validate(without(settings, "name"))
    except ValidationError as error:
        raise ConfigError(_explain(error, f"{path}.", schema)) from None
    return {"name": component.name} | parsed.model_dump(mode="json")


def _parse_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is not valid YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{name} is not a mapping of settings")
    return tree


def _parse_value(text: str, assignment: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"--set {assignment[:80]!r}: the value is not valid YAML; quote it") from None


def _nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides key by key. A component that gets another name loses the settings of the one before."""
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        if not isinstance(value, Mapping) or known is None:
            merged[key] = value
        elif not isinstance(known, Mapping):
            raise ConfigError(f"{key} is a section of settings, and {known!r} stands in its place")
        elif "name" in known and value.get("name", known["name"]) != known["name"]:
            merged[key] = dict(value)
        else:
            merged[key] = _merge(known, value)
    return merged


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _explain(error: ValidationError, prefix: str, schema: type[BaseModel]) -> str:
    """The first problem of a validation in one line."""
    problems = error.errors()
    first = problems[0]
    # A union's members appear as parts of the location that are no keys.
    path = prefix + ".".join(str(part) for part in first["loc"] if part not in ("constrained-int", "literal['auto']"))
    if first["type"] == "extra_forbidden":
        known = [prefix + key for key in _known_keys(schema)]
        message = f"unknown key {path}{_did_you_mean(path, known)}"
    elif first["type"] == "missing":
        message = f"{path} is missing"
    elif first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ")
    else:
        message = f"{path}: {first['input']!r} is not allowed: {first['msg'][0].lower()}{first['msg'][1:]}"
    return message + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


def _known_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for key, field in schema.model_fields.items():
        yield prefix + key
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _known_keys(field.annotation, f"{prefix}{key}.")


def _did_you_mean(given: str, known: Sequence[str]) -> str:
    """The nearest known key: by the whole path, else by its last part, which finds a key put into the wrong section."""
    last = given.rpartition(".")[2]
    by_last = {key.rpartition(".")[2]: key for key in known}
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.75) or [
        by_last[key] for key in difflib.get_close_matches(last, by_last, n=1)
    ]
    return f"; did you mean {near[0]}?" if near else ""
