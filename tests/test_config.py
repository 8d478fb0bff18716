"""The configuration: precedence, what follows from the image size, and errors that name the key and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from i2i.config import yaml_text
from i2i.config.changes import changes, continued
from i2i.config.explain import differing_keys
from i2i.config.resolve import changed, parse_config, read_recipe, recipe_names, resolve_config
from i2i.config.schema import to_yaml
from i2i.errors import ConfigError


def message(**arguments: object) -> str:
    with pytest.raises(ConfigError) as error:
        resolve_config("cyclegan", **arguments)  # type: ignore[arg-type]
    text = str(error.value)
    assert "\n" not in text
    return text


def test_the_recipe_is_the_paper() -> None:
    config = resolve_config("cyclegan")
    assert config.image_size == 256
    assert config.data.load_size == 286
    assert config.method == {
        "name": "cyclegan",
        "objective": "lsgan",
        "cycle_weight": 10.0,
        "cycle_gradient": "both",
        "identity_weight": 0.5,
        "history": 50,
        "r1": 0.0,
        "r2": 0.0,
        "mixed_penalty": 0.0,
        "paired_weight": 0.0,
        "penalty_every": 1,
    }
    assert config.networks["generator"]["blocks"] == 9
    assert config.optimizers["generator"].lr == 2e-4
    assert config.optimizers["generator"].betas == (0.5, 0.999)
    assert (config.training.batch_size, config.training.epochs) == (1, 200)
    assert config.training.schedule.constant == 0.5
    assert config.training.ema is None


def test_precedence_is_recipe_file_options_assignments() -> None:
    file = {"training": {"seed": 1, "batch_size": 2, "log_every": 3}}
    config = resolve_config(
        "cyclegan", file=file, options={"training.seed": 4, "training.batch_size": 5}, assignments=["training.seed=6"]
    )
    assert (config.training.seed, config.training.batch_size, config.training.log_every) == (6, 5, 3)


def test_image_size_brings_its_load_size_and_blocks() -> None:
    config = resolve_config("cyclegan", options={"image_size": 64})
    assert (config.data.load_size, config.networks["generator"]["blocks"]) == (72, 6)
    kept = resolve_config(
        "cyclegan", options={"image_size": 64}, assignments=["data.load_size=100", "networks.generator.blocks=3"]
    )
    assert (kept.data.load_size, kept.networks["generator"]["blocks"]) == (100, 3)


def test_a_file_that_states_an_image_size_is_a_recipe_of_its_own() -> None:
    for name in recipe_names():
        copied = read_recipe(name)
        assert resolve_config(None, file=copied) == resolve_config(name)
        size = 2 * resolve_config(name).image_size
        options = {"image_size": size, "training.steps": 5}
        assert resolve_config(None, file=copied, options=options) == resolve_config(name, options=options)
    written = {"image_size": 64, "networks": {"generator": {"width": 8, "blocks": 2}}, "data": {"load_size": 80}}
    config = resolve_config("cyclegan", file=written, options={"image_size": 128})
    assert (config.data.load_size, config.networks["generator"]["width"]) == (160, 8)
    assert resolve_config("cyclegan", file=written).networks["generator"]["blocks"] == 2


def test_another_network_brings_its_own_settings() -> None:
    config = resolve_config("cyclegan", options={"image_size": 64}, assignments=["networks.generator.name=unet"])
    assert config.networks["generator"]["depth"] == 6
    assert "blocks" not in config.networks["generator"]
    config = resolve_config("cyclegan", assignments=["networks.generator={name: unet, width: 8}"])
    assert (config.networks["generator"]["depth"], config.networks["generator"]["width"]) == (8, 8)
    with pytest.raises(ConfigError, match="there is no translator 'patchgan'; known: resnet, unet"):
        resolve_config("cyclegan", assignments=["networks.generator.name=patchgan"])
    settings = ["optimizers.generator.lr=0.5", "optimizers.generator.name=sgd"]
    assert resolve_config("cyclegan", assignments=settings).optimizers["generator"].lr == 0.5


def test_numbers_are_not_bent_into_integers() -> None:
    assert "image_size: 64.0" in message(assignments=["image_size=64.0"])
    assert "networks.generator.width: True" in message(assignments=["networks.generator.width=true"])
    assert "data.workers: -1" in message(assignments=["data.workers=-1"])


@pytest.mark.parametrize("value", ["2024-13-45", "[" * 2000, "9" * 5000])
def test_values_that_yaml_chokes_on_are_one_line(value: str) -> None:
    assert len(message(assignments=[f"training.seed={value}"])) < 400


def test_sections_and_recipes_are_not_replaced_silently() -> None:
    assert "data must be a mapping of settings, not 'text'" in message(
        file={"data": "text"}, options={"data.path": "d"}
    )
    assert "networks: 3 is not allowed" in message(assignments=["networks=3"])
    assert "name two recipes" in message(assignments=["arch=cyclegan-fast"])


def test_steps_replace_the_recipes_epochs() -> None:
    assert resolve_config("cyclegan", options={"training.steps": 5}).training.epochs is None
    assert resolve_config("cyclegan", file={"training": {"epochs": 3}}).training.epochs == 3
    both = message(file={"training": {"epochs": 3}}, options={"training.steps": 5})
    assert "give one of training.steps and training.epochs" in both


def test_yaml_numbers_without_a_dot_are_numbers() -> None:
    assert resolve_config("cyclegan", assignments=["optimizers.generator.lr=1e-3"]).optimizers["generator"].lr == 1e-3


def test_a_resolved_configuration_survives_its_file() -> None:
    config = resolve_config("cyclegan", options={"image_size": 64})
    assert parse_config(yaml.safe_load(to_yaml(config))) == config
    other = changed(config, {"training.seed": 3})
    assert differing_keys(config, other) == ["training.seed (0 against 3)"]


def test_unknown_keys_name_the_nearest() -> None:
    assert "unknown key training.batchsize; did you mean training.batch_size?" in message(
        assignments=["training.batchsize=4"]
    )
    assert "did you mean training.batch_size?" in message(assignments=["batch_size=4"])
    assert "unknown key networks.generator.widht; did you mean networks.generator.width?" in message(
        assignments=["networks.generator.widht=4"]
    )
    assert "unknown key method.cycle_wieght; did you mean method.cycle_weight?" in message(
        assignments=["method.cycle_wieght=4"]
    )


def test_wrong_values_name_key_value_and_what_is_allowed() -> None:
    text = message(assignments=["training.batch_size=four"])
    assert "training.batch_size: 'four'" in text
    assert "integer" in text
    nothing = message(assignments=["training.batch_size=0"])
    assert nothing.endswith("training.batch_size: 0 is not allowed: set it to 1 or more, or auto")
    assert "'hinge', 'wasserstein' or 'relativistic'" in message(assignments=["method.objective=lsgam"])
    assert "load_size 100 is smaller than image_size 256" in message(assignments=["data.load_size=100"])
    assert "known: resnet, unet" in message(assignments=["networks.generator.name=vit"])
    assert "(also wrong: training.seed)" in message(assignments=["training.batch_size=0", "training.seed=-1"])
    assert "write it as key=value" in message(assignments=["training.batch_size"])
    assert "not valid YAML" in message(assignments=["training.seed=[1"])


def test_unknown_recipes_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown arch 'cycelgan'; did you mean cyclegan"):
        resolve_config("cycelgan")


def test_a_file_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    from i2i.config.resolve import read_config

    for name, content in (("list.yaml", "- 1"), ("broken.yaml", "a: [1"), ("binary.yaml", "\x00")):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(ConfigError, match=name):
            read_config(path)
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        read_config(tmp_path / "missing.yaml")


def test_networks_and_optimizers_must_be_the_methods() -> None:
    tree = resolve_config("cyclegan").model_dump(mode="json")
    tree["networks"]["critic"] = {"name": "patchgan"}
    with pytest.raises(ConfigError, match="takes generator, discriminator; fix critic"):
        parse_config(tree)


@pytest.mark.parametrize(
    ("arch", "settings", "reason"),
    [
        (
            "wgan",
            ["optimizers.generator.betas=[0,0.9]"],
            "rmsprop has none: set name=adam, or leave betas at [0.5, 0.999]",
        ),
        ("dcgan", ["optimizers.discriminator.momentum=0.9"], "adam has none: set name=sgd, or leave momentum at 0.0"),
        ("dcgan", ["optimizers.generator.alpha=0.9"], "adam has none: set name=rmsprop, or leave alpha at 0.99"),
        ("sagan", ["networks.generator.embedding=64"], "set conditioning=shared, or leave embedding at 128"),
        (
            "cyclegan",
            ["networks.generator={name: unet, dropout_in: inner}"],
            "set dropout above 0, or leave dropout_in",
        ),
        ("unrolled", ["method.unrolled_steps=0", "method.unrolled_rate=0.5"], "set unrolled_steps above 0"),
        ("infogan", ["method.continuous=0", "method.deviation=learned"], "set continuous above 0"),
        ("infogan", ["method.categories=[]", "method.categorical_weight=2"], "set categories, for example to [10]"),
        ("dcgan", ["method.fake_labels=uniform"], "set method.labels=required, or leave fake_labels at batch"),
        ("dcgan", ["networks.discriminator.labels=project"], "use a method with labels"),
    ],
)
def test_settings_without_effect_are_refused(arch: str, settings: list[str], reason: str) -> None:
    key = settings[-1].partition("=")[0]
    with pytest.raises(ConfigError) as error:
        resolve_config(arch, assignments=settings)
    assert str(error.value).startswith(key)
    assert "would have no effect" in str(error.value)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_without_effect_may_stay_at_their_default() -> None:
    for arch, settings in (
        ("dcgan", ["optimizers.generator.name=rmsprop", "optimizers.generator.betas=[0.5,0.999]"]),
        ("biggan", ["networks.generator.conditioning=class"]),
        ("pix2pix", ["networks.generator.dropout=0"]),
        ("unrolled", ["method.unrolled_steps=0"]),
        ("infogan", ["method.continuous=0"]),
    ):
        config = resolve_config(arch, assignments=settings)
        written = yaml.safe_load(to_yaml(config))
        assert resolve_config(None, file=written) == config  # what a run writes can start another one
        assert parse_config(written) == config


def test_a_configuration_of_before_still_loads() -> None:
    tree = resolve_config("wgan").model_dump(mode="json")
    tree["optimizers"]["generator"]["betas"] = [0.0, 0.9]
    assert parse_config(tree).optimizers["generator"].name == "rmsprop"


WORDS = ["1e3", "010", "1:30", "no", "2024-01-01", "~", "null", "", "1_000", "0x1F", ".5", ".inf", "true", "- a", "<<"]


@pytest.mark.parametrize("word", WORDS)
def test_text_that_looks_like_something_else_comes_back_as_text(word: str) -> None:
    config = resolve_config("cyclegan", assignments=[f"data.labels=['{word}']"])
    text = to_yaml(config)
    assert parse_config(yaml_text.parse(text)) == config
    assert yaml.safe_load(text)["data"]["labels"] == [word]  # and every other reader of YAML takes it so


def test_numbers_are_read_as_yaml_1_2_reads_them() -> None:
    text = "[1e-4, 2.5e3, -.5, 3., +7, 0, .inf, -1E+2]"
    assert yaml_text.parse(text) == [1e-4, 2500, -0.5, 3, 7, 0, float("inf"), -100]
    assert yaml_text.parse("[010, 1:30, 0x10, 0o7, 1_000, yes]") == ["010", "1:30", "0x10", "0o7", "1_000", "yes"]


def test_aliases_that_hold_little_are_read() -> None:
    tree = yaml_text.parse("a: &a {name: Rotate, limit: 5}\nb: [*a, *a]")
    assert tree["b"] == [{"name": "Rotate", "limit": 5}] * 2


def test_a_limit_may_be_lifted_where_a_run_goes_on() -> None:
    limited = resolve_config("cyclegan", options={"training.max_time": 600, "training.steps": 9})
    assert continued(limited, {"training.max_time": None}).training.max_time is None
    assert changes({"training.seed": None}, ["evaluation.patience=null"]) == {"evaluation.patience": None}


def test_other_data_over_a_run_replace_all_of_its_folders() -> None:
    places = {"data.a": "a", "data.b": "b", "data.test_a": "test_a", "data.test_b": "test_b", "data.mask": "mask"}
    run = resolve_config("pix2pix", options=places)
    moved = resolve_config(None, run=run, options={"data.a": "new_a", "data.b": "new_b"}).data
    assert (moved.a, moved.b, moved.test_a, moved.mask, moved.path) == ("new_a", "new_b", None, None, "")
    assert resolve_config(None, run=run, options={"data.path": "new"}).data.title == "new"
    assert resolve_config(None, run=run, options={"data.test_b": "other"}).data.test_a == "test_a"
