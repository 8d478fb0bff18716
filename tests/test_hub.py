"""Models on the hub: what is pushed, what is fetched, and what is refused; a local server plays the hub."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import yaml

import i2i as package
from i2i.config.schema import to_yaml
from i2i.errors import ConfigError, DataError, UserError
from i2i.storage import hub as hub_module
from i2i.storage.runs import RunFolder
from i2i.training.start import train

from .conftest import Result, Run, draw, make_set, small_config
from .hub import Hub, serving
from .toys import assert_refused


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    data = make_set(root / "secret-place" / "data", trainA=3, trainB=3, testA=2, testB=2)
    return train(small_config("pix2pix", data, "training.steps=1"), root / "run").run.root


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub, and an empty cache."""
    there = Hub()
    with serving(there) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
        forget()
        yield there
    forget()


def forget() -> None:
    """As another command would start."""
    hub_module._hub_weights.cache_clear()


def test_what_is_pushed_is_what_others_translate_with(run: Path, hub: Hub, tmp_path: Path, i2i: Run) -> None:
    shown = i2i("push", run, "hf:me/drawings", "--dry-run")
    assert shown.code == 0
    assert not hub.asked
    done = i2i("push", run, "hf:me/drawings", "--license", "cc-by-4.0")
    assert done.code == 0, done.err
    for file in ("model.safetensors", "config.yaml", "README.md"):
        assert file in shown.out
    assert "private" in shown.out
    assert hub.private == {"me/drawings"}
    commit, files = hub.found("me/drawings", "main")
    assert set(files) == {"model.safetensors", "config.yaml", "README.md"}
    assert files["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert not any(b"secret-place" in content for content in files.values())
    assert yaml.safe_load(files["config.yaml"])["data"]["path"] == "data"
    _, front, body = files["README.md"].decode().split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["library_name"] == "i2i"
    assert metadata["pipeline_tag"] == "image-to-image"
    assert metadata["license"] == "cc-by-4.0"
    assert "--model hf:me/drawings" in body
    assert f"hf:me/drawings@{commit}" in done.out

    draw(tmp_path / "in.png", 0)
    fetched = i2i("translate", tmp_path / "in.png", "-o", tmp_path / "out.png", "--model", "hf:me/drawings")
    assert fetched.code == 0, fetched.err
    assert commit in fetched.err
    assert sha256(files["model.safetensors"]).hexdigest() in fetched.err
    assert not any(asked.endswith(("config.yaml", "README.md")) for asked in hub.asked)
    pixels = np.zeros((16, 16, 3), np.uint8)
    assert np.array_equal(package.load_translator("hf:me/drawings")(pixels), package.load_translator(run)(pixels))


def test_a_public_repository_is_pushed_to_only_if_asked(run: Path, hub: Hub, i2i: Run) -> None:
    assert i2i("push", run, "hf:me/open", "--public", "--license", "mit").code == 0
    assert not hub.private
    assert_refused(i2i("push", run, "hf:me/open", "--license", "mit"), "hf:me/open is there and public", "--public")
    with pytest.raises(ConfigError, match="hf:me/open is there and public"):
        package.push(run, "hf:me/open", licence="mit")
    assert_refused(i2i("push", run, "me/open"), "hf:OWNER/NAME")


def test_what_python_pushes_is_what_the_command_pushes(run: Path, hub: Hub, i2i: Run) -> None:
    name = package.push(run, "hf:me/python", licence="mit")
    assert i2i("push", run, "hf:me/command", "--license", "mit").code == 0
    assert hub.private == {"me/python", "me/command"}
    commit, files = hub.found("me/python", "main")
    assert name == f"hf:me/python@{commit}"
    commanded = {
        name: content.replace(b"command", b"python") for name, content in hub.found("me/command", "main")[1].items()
    }
    assert files == commanded
    pixels = np.zeros((16, 16, 3), np.uint8)
    assert np.array_equal(package.load_translator(name)(pixels), package.load_translator(run)(pixels))


def test_a_kept_commit_needs_no_network(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.commit("me/x", {"model.safetensors": (run / "model.safetensors").read_bytes()})
    path = hub_module.hub_weights("hf:me/x")
    forget()
    hub.asked.clear()
    assert hub_module.hub_weights(f"hf:me/x@{commit}") == path
    assert not hub.asked
    newer = hub.commit("me/x", {"README.md": b"changed"})
    forget()
    assert hub_module.hub_weights("hf:me/x").parent.name == newer
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    forget()
    assert hub_module.hub_weights("hf:me/x").parent.name == newer
    with pytest.raises(DataError, match=r"hf:me/x@other: the hub cannot be reached"):
        hub_module.hub_weights("hf:me/x@other")


def test_another_content_than_the_hub_or_the_record_says_is_refused(run: Path, hub: Hub) -> None:
    weights = (run / "model.safetensors").read_bytes()
    hub.commit("me/x", {"model.safetensors": weights})
    hub.lies["model.safetensors"] = weights + b"more"
    with pytest.raises(UserError, match="is expected: it is refused"):
        hub_module.hub_weights("hf:me/x")
    hub.lies.clear()
    hub.commit("me/y", {"model.safetensors": weights})
    path = hub_module.hub_weights("hf:me/y")
    path.write_bytes(weights[:-1] + b"\0")
    forget()
    with pytest.raises(UserError, match="is expected: it is refused"):
        hub_module.hub_weights("hf:me/y")
    path.unlink()
    hub.repositories["me/y"][path.parent.name]["model.safetensors"] = weights + b"more"  # the same commit
    forget()
    with pytest.raises(UserError, match="is expected: it is refused"):
        hub_module.hub_weights("hf:me/y")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('ran')",)


def test_hostile_repositories_are_refused(run: Path, hub: Hub, tmp_path: Path, i2i: Run) -> None:
    pickled = pickle.dumps(Evil())
    draw(tmp_path / "in.png", 0)

    def translate(name: str) -> Result:
        forget()
        return i2i("translate", tmp_path / "in.png", "-o", tmp_path / "out.png", "--model", name)

    hub.commit("bad/pickle", {"pytorch_model.bin": pickled})
    assert_refused(translate("hf:bad/pickle"), "holds no model.safetensors", "pytorch_model.bin is pickled")
    hub.commit("bad/disguised", {"model.safetensors": pickled})
    disguised = translate("hf:bad/disguised")
    assert disguised.code == 2
    assert "not a weight file of i2i" in disguised.err
    assert "Traceback" not in disguised.err
    config = RunFolder(run).read_config()
    outside = config.model_copy(update={"data": config.data.model_copy(update={"path": "/etc"})})
    files = {"config.yaml": to_yaml(outside).encode(), "../../escape.safetensors": b"x"}
    hub.commit("bad/config", files | {"model.safetensors": (run / "model.safetensors").read_bytes()})
    forget()
    path = hub_module.hub_weights("hf:bad/config")
    assert [file.name for file in path.parent.iterdir() if file.is_file()] == ["model.safetensors"]
    assert_refused(translate("hf:bad/nowhere"), "no such repository")
    assert_refused(translate("hf:bad/config@tag"), "no such revision")
    for name in ("hf:alone", "hf:../x/y", "hf:a/..", "hf:a/b/c", "hf:a/b@"):
        assert_refused(translate(name), "names of the hub are hf:OWNER/NAME")
