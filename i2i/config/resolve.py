"""Resolves a recipe to a complete configuration: one YAML file per recipe, overrides by name, one-line errors.

Precedence, lowest first: the recipe of ``--arch``, settings that follow from the image size, ``--config``, named
options, ``--set``. A ``--config`` file that states an image size is a recipe of its own: what depends on the image
size follows once more where an option asks for another. One with another name than those of i2i, and with all that
a recipe has, stands in the place of ``--arch``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from i2i.bounds import read_regular
from i2i.config import yaml_text
from i2i.config.components import Component, without
from i2i.config.explain import explain, shown
from i2i.config.schema import (
    PLACES,
    Config,
    DataConfig,
    DiscriminatorAugmentation,
    ModelConfig,
    OptimizerConfig,
    Section,
)
from i2i.errors import ConfigError, did_you_mean
from i2i.shipped import shipped

LARGEST_FILE = 2**20
"""Bytes of a file of settings."""
SECTIONS = {"image_size", "data", "method", "networks", "optimizers", "training"}
"""What a recipe cannot do without."""

Parsed = TypeVar("Parsed", bound=Section)
Described = TypeVar("Described", Config, ModelConfig)


def recipe_names() -> list[str]:
    """The names that ``--arch`` takes."""
    return list(shipped("configs"))


def read_recipe(arch: str) -> dict[str, Any]:
    """The shipped YAML of ``arch``.

    Raises:
        ConfigError: there is no such recipe.
    """
    return _parse_yaml(recipe_text(arch), f"{arch}.yaml")


def read_config(path: Path) -> dict[str, Any]:
    """A YAML file of settings.

    Raises:
        ConfigError: the file is missing, no regular file, too large or not a YAML mapping.
    """
    try:
        text = read_regular(path, LARGEST_FILE).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from None
    return _parse_yaml(text, str(path))


def resolve_config(
    arch: str | None,
    *,
    run: Config | None = None,
    file: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> Config:
    """Merges a recipe with overrides and validates the result.

    Args:
        arch: a recipe's name; may be left out where ``file`` names one, or with ``run``.
        run: the settings of another run, in the place of a recipe; its networks do not follow a new image size.
        file: settings of a ``--config`` file.
        options: named options by dotted path; None values are ignored.
        assignments: ``a.b=value`` strings, values in YAML.

    Raises:
        ConfigError: names the key path, the value, what is allowed and the nearest valid key.
    """
    given: dict[str, Any] = {}
    for path, value in (options or {}).items():
        if value is not None:
            given = _merge(given, _nested(path, value))
    for assignment in assignments:
        given = _merge(given, _nested(*assigned(assignment)))
    written = dict(file or {})
    named = given.pop("arch", written.pop("arch", None))
    if run is None and arch is None and _is_recipe(named, written):
        if missing := SECTIONS - written.keys():
            raise ConfigError(
                f"unknown arch {named!r}{did_you_mean(named, recipe_names())}; for a recipe of its own, the file lacks "
                f"{', '.join(sorted(missing))}"
            )
        recipe, written = parse_config({"arch": named} | written).model_dump(mode="json"), {}
    else:
        recipe = _recipe_of(arch, named) if run is None else _as_recipe(run)
    if "image_size" in written:
        recipe = parse_config(_overridden(recipe, written)).model_dump(mode="json")
    else:
        given = _merge(written, given)
    config = parse_config(_overridden(recipe, given, networks_follow=run is None))
    _refuse_idle(config)
    return config


def recipe_text(arch: str) -> str:
    """The shipped YAML file of ``arch``, with its comments.

    Raises:
        ConfigError: there is no such recipe.
    """
    recipes = shipped("configs")
    if arch not in recipes:
        raise ConfigError(f"unknown arch {arch!r}{did_you_mean(arch, list(recipes))}; known: {', '.join(recipes)}")
    return recipes[arch].read_text(encoding="utf-8")


def _overridden(
    recipe: Mapping[str, Any], overrides: Mapping[str, Any], *, networks_follow: bool = True
) -> dict[str, Any]:
    """``recipe`` with other settings, and with what follows from these."""
    recipe = dict(recipe)
    if _names_another(recipe, overrides):
        recipe = without(recipe, "about", "paper")
    _drop_length(recipe, overrides)
    _drop_places(recipe, overrides)
    follows = _settings_that_follow(recipe, _merge(recipe, overrides))
    if not networks_follow:
        follows.pop("networks", None)
    return _merge(_merge(recipe, follows), overrides)


def _is_recipe(named: Any, file: Mapping[str, Any]) -> bool:
    """Whether a file is to be a recipe of its own, as the configuration of a run whose method is not part of i2i is."""
    return isinstance(named, str) and named not in recipe_names() and len(file.keys() & SECTIONS) > len(SECTIONS) / 2


def _recipe_of(arch: str | None, named: Any) -> dict[str, Any]:
    """The recipe that an argument and a file name, which must agree."""
    arch = arch or named
    if not isinstance(arch, str):
        raise ConfigError(f"no recipe is named: use --arch with one of {', '.join(recipe_names())}")
    if named not in (None, arch):
        raise ConfigError(f"--arch {arch} and arch {shown(named)} name two recipes; give one")
    return read_recipe(arch)


def _as_recipe(run: Config) -> dict[str, Any]:
    """The settings of a run without what it found out about its machine, its data's labels and its own start."""
    tree = run.model_dump(mode="json")
    found = ("device", "precision", "threads", "start_from", "start_weights")
    return tree | {"data": without(tree["data"], "labels"), "training": without(tree["training"], *found)}


def assigned(assignment: str) -> tuple[str, Any]:
    """The dotted path and the value of ``a.b=value``.

    Raises:
        ConfigError: it is written otherwise.
    """
    path, equals, text = assignment.partition("=")
    if not equals or not all(part.strip() for part in path.split(".")):
        raise ConfigError(f"--set {shown(assignment)}: write it as key=value, for example training.batch_size=4")
    return path.strip(), _parse_value(text, assignment)


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
    return _with_components(_validated(Config, tree))


def parse_model(tree: Mapping[str, Any]) -> ModelConfig:
    """Validates what a weight file says of its model; errors as ``parse_config``."""
    model = _validated(ModelConfig, tree)
    images = model.images
    for side, channels, depth in (("a", images.channels_a, images.depth_a), ("b", images.channels_b, images.depth_b)):
        if depth.is_plain and channels > 4:
            raise ConfigError(f"images.channels_{side}: {channels} is not allowed: 8-bit images have 1, 3 or 4")
    return _with_components(model)


def _validated(section: type[Parsed], tree: Mapping[str, Any], prefix: str = "") -> Parsed:
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, prefix, section)) from None


def _with_components(config: Described) -> Described:
    """``config`` with the settings of its method and networks validated by their signatures."""
    method = _method_of({"method": config.method})
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


def changed(config: Config, settings: Mapping[str, Any]) -> Config:
    """A copy of ``config`` with the values of these dotted paths in the place of its own, validated again."""
    tree = config.model_dump(mode="json")
    for path, value in settings.items():
        tree = _merge(tree, _nested(path, value))
    return parse_config(tree)


def data_config(settings: Mapping[str, Any]) -> DataConfig:
    """Validates the settings of data alone.

    Raises:
        ConfigError: as ``resolve_config``.
    """
    return _validated(DataConfig, settings, "data.")


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
    augmentation = config.discriminator_augmentation
    settings = augmentation.model_dump(mode="json")
    _require_defaults("discriminator_augmentation", augmentation.idle(), settings, DiscriminatorAugmentation)


def _require_defaults(path: str, idle: Mapping[str, str], settings: Mapping[str, Any], schema: type[BaseModel]) -> None:
    for key, way_out in idle.items():
        default = schema.model_fields[key].default
        default = list(default) if isinstance(default, tuple) else default  # as it is dumped
        if settings[key] != default:
            raise ConfigError(
                f"{path}.{key}: {settings[key]} would have no effect; {way_out}, or leave {key} at {default}"
            )


def _names_another(recipe: Mapping[str, Any], overrides: Mapping[str, Any]) -> bool:
    """Whether the method is another one than the recipe's, of which neither its description nor its paper tells."""
    given = overrides.get("method")
    return isinstance(given, Mapping) and given.get("name", recipe["method"]["name"]) != recipe["method"]["name"]


def _drop_length(recipe: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Steps given over a recipe in epochs (or the reverse) replace the recipe's length."""
    given = overrides.get("training") or {}
    if isinstance(given, dict) and (given.get("steps") is None) != (given.get("epochs") is None):
        recipe["training"] = without(recipe["training"], "steps", "epochs")


def _drop_places(recipe: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Other data given over a recipe, or over a run, replace all of its folders: held-out images and masks too."""
    given = overrides.get("data") or {}
    if isinstance(given, dict) and any(given.get(key) is not None for key in ("path", "a", "b")):
        recipe["data"] = {**without(recipe["data"], *PLACES), "path": ""}


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
        raise ConfigError(explain(error, f"{path}.", schema)) from None
    return {"name": component.name} | parsed.model_dump(mode="json")


def _parse_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        tree = yaml_text.parse(text)
    except yaml_text.NotSettings as error:
        raise ConfigError(f"{name} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{name} is not a mapping of settings")
    return tree


def _parse_value(text: str, assignment: str) -> Any:
    try:
        return yaml_text.parse(text)
    except yaml_text.NotSettings as error:
        raise ConfigError(f"--set {shown(assignment)}: the value is not valid YAML; quote it ({error})") from None


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
            raise ConfigError(f"{key} must be a mapping of settings, not {shown(known)}")
        elif "name" in known and value.get("name", known["name"]) != known["name"]:
            merged[key] = dict(value)
        else:
            merged[key] = _merge(known, value)
    return merged
