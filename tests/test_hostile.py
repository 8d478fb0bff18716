"""Hostile and broken input that is no image: one line that names it, the right exit code, nothing lost."""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

import i2i as package
from i2i.build import build_method
from i2i.errors import UserError
from i2i.storage.weights import FORMAT, digest_of

from .conftest import draw, small_config
from .hostile import Case

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bounds of memory are Linux's")

Make = Callable[[Path], Sequence[object]]
TRAIN = ("train", "--arch", "dcgan", "--data", "digits", "--device", "cpu")


def settings(text: str | bytes) -> Make:
    """``train --config`` with this file."""

    def make(folder: Path) -> list[object]:
        (folder / "c.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return [*TRAIN, "--config", "c.yaml"]

    return make


def assigned(*assignments: str, arch: str = "dcgan") -> Make:
    """``train`` with these after ``--set``."""
    parts = [part for assignment in assignments for part in ("--set", assignment)]
    return lambda folder: ["train", "--arch", arch, "--data", "digits", "--device", "cpu", *parts]


def named(*arguments: object) -> Make:
    """A command line alone."""
    return lambda folder: arguments


def of_pipe(folder: Path) -> list[object]:
    os.mkfifo(folder / "pipe")
    return [*TRAIN, "--config", "pipe"]


def of_folder(folder: Path) -> list[object]:
    (folder / "c.yaml").mkdir()
    return [*TRAIN, "--config", "c.yaml"]


def of_sparse(folder: Path) -> list[object]:
    with (folder / "c.yaml").open("wb") as file:
        file.truncate(100 * 2**20)
    return [*TRAIN, "--config", "c.yaml"]


def aliases(key: str, start: str = "[" + ",".join("1" * 10) + "]") -> str:
    """Nine lists of ten aliases each, the last of which is the value of ``key``."""
    lines = [f"x0: &x0 {start}"]
    lines += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "\n".join([*lines, f"{key}: *x9"])


CONFIGS = [
    Case("key twice", settings("image_size: 32\nimage_size: 64"), 2, "line 2: the key image_size is there twice"),
    Case("key twice below", settings("training:\n  seed: 1\n  seed: 2"), 2, "line 3: the key seed is there twice"),
    Case("aliases", settings(aliases("image_size")), 2, "more than settings can be"),
    Case("aliases of mappings", settings(aliases("method", "{name: dcgan}")), 2, "more than settings can be"),
    Case("alias of itself", settings("data: {augment: [&a {name: Rotate, limit: *a}]}"), 2, "*a holds itself"),
    Case("long text by aliases", settings(f"x: &x '{'y' * 9000}'\nz: [{'*x, ' * 999}]"), 2, "more than settings can"),
    Case("deep lists", settings("image_size: " + "[" * 50_000), 2, "nested deeper than 32"),
    Case("deep mappings", settings("{a: " * 9000), 2, "nested deeper than 32"),
    Case("many values", settings("image_size: [" + "1," * 150_000 + "]"), 2, "more than settings can be"),
    Case("NUL", settings("image_size: 3\0"), 2, "c.yaml is not valid YAML: unacceptable character #x0000"),
    Case("escape", settings("image_size: \x1b[31m"), 2, "unacceptable character #x001b"),
    Case("not text", settings(b"\xff\xfe\x80\x81\xff"), 2, "cannot read the configuration c.yaml"),
    Case("tag", settings("image_size: !!python/object/apply:os.system [id]"), 2, "line 1: settings have no tags"),
    Case("octal", settings("training: {batch_size: 010}"), 2, "training.batch_size: '010' is not allowed"),
    Case("sexagesimal", settings("training: {steps: 1:30}"), 2, "training.steps: '1:30' is not allowed"),
    Case("date", settings("training: {steps: 2024-01-01}"), 2, "training.steps: '2024-01-01' is not allowed"),
    Case("pipe", of_pipe, 2, "pipe: not a regular file"),
    Case("device", named(*TRAIN, "--config", "/dev/zero"), 2, "/dev/zero: not a regular file"),
    Case("folder", of_folder, 2, "c.yaml: not a regular file"),
    Case("100 MB", of_sparse, 2, "c.yaml: more than 1,048,576 bytes"),
    Case("missing", named(*TRAIN, "--config", "c.yaml"), 2, "c.yaml: No such file"),
    Case("two documents", settings("image_size: 32\n---\nimage_size: 64"), 2, "line 2: but found another document"),
    Case("list", settings("[1, 2]"), 2, "c.yaml is not a mapping of settings"),
    Case("key that is a list", settings("? [a]\n: 1"), 2, "line 1: a key is no plain text"),
    Case("merge key", settings("a: &a {seed: 1}\ntraining: {<<: *a}"), 2, "unknown key"),
    Case("long value", settings(f"image_size: {'x' * 9000}"), 2, "xxx...xxx"),
    Case("long key", settings(f"{'x' * 900}: 1"), 2, "unknown key xxx"),
    Case("long number", settings("image_size: " + "9" * 5000), 2, "c.yaml is not valid YAML: Exceeds the limit"),
    Case(
        "list of a list",
        settings(f"image_size: [{'[1, 2, 3, 4, 5, 6, 7, 8, 9], ' * 999}]"),
        2,
        "...], ...] is not allowed",
    ),
    Case("number as a section", settings("training: 3"), 2, "training must be"),
    Case("arch that is a list", settings("arch: [[[[[[[1]]]]]]]"), 2, "name two recipes"),
]

SETTINGS = [
    Case("set: aliases", assigned("image_size={a: &a [1], b: [*a, *a], c: !!int 3}"), 2, "is not valid YAML; quote it"),
    Case("set: date", assigned("training.steps=2024-01-01"), 2, "training.steps: '2024-01-01' is not allowed"),
    Case("set: hexadecimal", assigned("training.batch_size=0x10"), 2, "training.batch_size: '0x10' is not allowed"),
    Case("set: deep path", assigned("a." * 5000 + "b=1"), 2, "unknown key a"),
    Case("set: deep in a setting", assigned("training.seed." + "a." * 3000 + "b=1"), 2, "training.seed: {'a'"),
    Case("set: no value", assigned("x" * 5000), 2, "write it as key=value"),
    Case("set: infinite steps", assigned("training.steps=.inf"), 2, "training.steps: inf is not allowed"),
    Case("set: no rate", assigned("optimizers.generator.lr=.nan"), 2, "optimizers.generator.lr: nan is not allowed"),
    Case("set: seed", assigned(f"training.seed={2**63}"), 2, "training.seed"),
    Case("blocks", assigned("networks.generator.blocks=1000000000", arch="cyclegan"), 2, "networks.generator.blocks"),
    Case("depth", assigned("networks.generator.depth=100000", arch="gan"), 2, "networks.generator.depth: 100000"),
    Case("width", assigned("networks.generator.width=1000000000"), 2, "networks.generator.width: 1000000000"),
    Case("memory: width", assigned("networks.generator.width=60000"), 2, "lower networks.generator.width"),
    Case("memory: hidden", assigned("networks.generator.width=65536", arch="gan"), 2, "lower networks.generator.width"),
    Case("batch size", assigned("training.batch_size=1000000000"), 2, "training.batch_size: 1000000000"),
    Case("memory: batch", assigned("training.batch_size=1000000"), 2, "lower training.batch_size"),
    Case("accumulate", assigned("training.accumulate=1000000000"), 2, "training.accumulate: 1000000000"),
    Case("memory: accumulate", assigned("training.accumulate=1000000"), 2, "lower training.accumulate"),
    Case("load size", assigned("data.load_size=1000000"), 2, "data.load_size: 1000000 is not allowed"),
    Case("memory: load size", assigned("data.load_size=60000"), 2, "lower data.load_size"),
    Case("image size", assigned("image_size=1000000", "data.load_size=60000"), 2, "image_size: 1000000"),
    Case("previews", assigned("training.sample_count=1000000000"), 2, "training.sample_count: 1000000000"),
    Case("check size", named("data", "check", "openmoji", "--size", 10**9), 2, "'--size': 1000000000 is not in"),
    Case("threads", named(*TRAIN, "--threads", 10**30), 2, "'--threads': '1000"),
    Case("time", named(*TRAIN, "--max-time", "9" * 400), 2, "is not a time"),
    Case("augment: Compose", assigned("data.augment=[{name: Compose}]"), 2, "no transform 'Compose'"),
    Case("augment: code", assigned("data.augment=[{name: Lambda, image: print}]"), 2, "data.augment"),
]


@cache
def model(arch: str = "cyclegan") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the weights of a small model that nobody trained."""
    config = small_config(arch, Path("nowhere"), "data.channels_a=3").model
    method = build_method(config)
    return {"model": config.model_dump(mode="json"), "step": 7}, method.inference_state()


def changed(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of ``tree`` with another value at a dotted path."""
    first, _, rest = path.partition(".")
    return {**tree, first: changed(tree[first], rest, value) if rest else value}


def write_model(path: Path, header: Any, weights: Mapping[str, Tensor], *, kind: str = "weights") -> None:
    """A weight file with any header, and the digest that belongs to it."""
    tensors = {f"weights/{name}": tensor.contiguous() for name, tensor in weights.items()}
    items = [[name, {"tensor": f"weights/{name}"}] for name in weights]
    tree = {"items": [["weights", {"items": items}]]}
    envelope = {"format": FORMAT, "kind": kind, "header": header, "tree": tree}
    envelope["sha256"] = digest_of(envelope, tensors)
    path.write_bytes(save(tensors, {"i2i": json.dumps(envelope)}))


def forged(path: str, value: Any, arch: str = "cyclegan") -> Make:
    """``translate`` with a model whose header says ``value`` at ``path``."""

    def make(folder: Path) -> list[object]:
        header, weights = model(arch)
        write_model(folder / "m.safetensors", changed(header, path, value), weights)
        return translating(folder)

    return make


def spoilt(change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> Make:
    """``translate`` with a model whose weights are changed."""

    def make(folder: Path) -> list[object]:
        header, weights = model()
        write_model(folder / "m.safetensors", header, change(dict(weights)))
        return translating(folder)

    return make


def list_header(folder: Path) -> list[object]:
    write_model(folder / "m.safetensors", [], {})
    return translating(folder)


def translating(folder: Path) -> list[object]:
    draw(folder / "x.png", 1, (16, 16))
    return ["translate", "x.png", "--model", "m.safetensors", "--device", "cpu"]


def bytes_of(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of this header, whose length may be said wrong."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entries(**tensors: Any) -> bytes:
    """The header of a safetensors file, beside what says that it is a weight file of i2i."""
    envelope = {"format": FORMAT, "kind": "weights", "header": {}, "tree": {"items": []}, "sha256": ""}
    return json.dumps({"__metadata__": {"i2i": json.dumps(envelope)}, **tensors}).encode()


def entry(start: int, end: int, shape: Sequence[int] = (1,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def raw(content: bytes, sparse: int = 0) -> Make:
    """``translate`` with these bytes as its model."""

    def make(folder: Path) -> list[object]:
        with (folder / "m.safetensors").open("wb") as file:
            file.write(content)
            file.truncate(len(content) + sparse)
        return translating(folder)

    return make


def many_tensors(folder: Path) -> Sequence[object]:
    return raw(bytes_of(entries(**{f"{i}": entry(0, 0, [0]) for i in range(110_000)})))(folder)


def first_spoilt(value: float) -> Callable[[dict[str, Tensor]], Mapping[str, Tensor]]:
    def change(weights: dict[str, Tensor]) -> Mapping[str, Tensor]:
        name = next(iter(weights))
        weights[name] = weights[name].clone()
        weights[name].view(-1)[-1] = value
        return weights

    return change


DAMAGED = "m.safetensors is not a weight file of i2i or is damaged"
WEIGHTS = [
    Case("header of 2^63 bytes", raw(bytes_of(b"{}", length=2**63)), 2, DAMAGED),
    Case("header of all ones", raw(b"\xff" * 100), 2, DAMAGED),
    Case("header that is too large", raw(bytes_of(b"{}", length=2**25), 2**26), 2, "a header of 33,554,432 bytes"),
    Case("header beyond the end", raw(bytes_of(b"{}", length=3)), 2, DAMAGED),
    Case("no header", raw(b"\0" * 8), 2, DAMAGED),
    Case("nothing", raw(b""), 2, DAMAGED),
    Case("three bytes", raw(b"\1\0\0"), 2, DAMAGED),
    Case("header of a list", raw(bytes_of(b"[]")), 2, DAMAGED),
    Case("header with a blank before", raw(bytes_of(b' {"a": 1}')), 2, DAMAGED),
    Case("header that is cut", raw(bytes_of(entries()[:-5])), 2, DAMAGED),
    Case("header not UTF-8", raw(bytes_of(b'{"\xff\xfe": {}}')), 2, DAMAGED),
    Case("deep header", raw(bytes_of(b'{"a":' * 100_000)), 2, DAMAGED),
    Case("deep metadata", raw(bytes_of(json.dumps({"__metadata__": {"i2i": "[" * 100_000}}).encode())), 2, DAMAGED),
    Case("overlap", raw(bytes_of(entries(a=entry(0, 4), b=entry(0, 4)), bytes(4))), 2, DAMAGED),
    Case("half overlap", raw(bytes_of(entries(a=entry(0, 8, [2]), b=entry(4, 12, [2])), bytes(12))), 2, DAMAGED),
    Case("hole", raw(bytes_of(entries(a=entry(0, 4), b=entry(8, 12)), bytes(12))), 2, DAMAGED),
    Case("hole at the start", raw(bytes_of(entries(a=entry(4, 8)), bytes(8))), 2, DAMAGED),
    Case("bytes behind", raw(bytes_of(entries(a=entry(0, 4)), bytes(8))), 2, DAMAGED),
    Case("too few bytes", raw(bytes_of(entries(a=entry(0, 4)), bytes(3))), 2, DAMAGED),
    Case("backwards", raw(bytes_of(entries(a=entry(4, 0)), bytes(4))), 2, DAMAGED),
    Case("negative shape", raw(bytes_of(entries(a=entry(0, 4, [-1])), bytes(4))), 2, DAMAGED),
    Case("shape beyond 64 bits", raw(bytes_of(entries(a=entry(0, 4, [2**40, 2**40])), bytes(4))), 2, DAMAGED),
    Case("shape that wraps", raw(bytes_of(entries(a=entry(0, 4, [2**62, 4, 2**62])), bytes(4))), 2, DAMAGED),
    Case("shape beyond its bytes", raw(bytes_of(entries(a=entry(0, 4, [2**30])), bytes(4))), 2, DAMAGED),
    Case("offsets beyond 64 bits", raw(bytes_of(entries(a=entry(0, 2**70)), bytes(4))), 2, DAMAGED),
    Case("negative offset", raw(bytes_of(entries(a=entry(-4, 0)), bytes(4))), 2, DAMAGED),
    Case("unknown type", raw(bytes_of(entries(a=entry(0, 4, dtype="F99")), bytes(4))), 2, DAMAGED),
    Case("float shape", raw(bytes_of(entries(a=entry(0, 4) | {"shape": [1.0]}), bytes(4))), 2, DAMAGED),
    Case("sparse", raw(bytes_of(entries(a=entry(0, 2**42, [2**40]))), 2**42), 2, "more than the memory of this"),
    Case("many tensors", many_tensors, 2, DAMAGED),
    Case("no file of i2i", raw(save({"a": torch.zeros(1)})), 2, "is not a file of i2i weights"),
    Case("name twice", raw(bytes_of(b'{"a":1,"a":2}')), 2, DAMAGED),
    Case("step infinite", forged("step", math.inf), 2, "step inf is no number of steps"),
    Case("step NaN", forged("step", math.nan), 2, "step nan is no number of steps"),
    Case("step negative", forged("step", -5), 2, "step -5 is no number of steps"),
    Case("step 1e30", forged("step", 1e30), 2, "step 1e+30 is no number of steps"),
    Case("step true", forged("step", True), 2, "step True is no number of steps"),
    Case("step long", forged("step", 10**400), 2, "is no number of steps"),
    Case("no config", forged("model", []), 2, "the configuration: [] is not allowed"),
    Case("header a list", list_header, 2, "does not fit this version"),
    Case("million blocks", forged("model.networks.generator.blocks", 10**6), 2, "networks.generator.blocks: 1000000"),
    Case("other blocks", forged("model.networks.generator.blocks", 60), 2, "the weights do not fit"),
    Case("million wide", forged("model.networks.generator.width", 10**6), 2, "networks.generator.width: 1000000"),
    Case("60,000 wide", forged("model.networks.generator.width", 60_000), 2, "the weights do not fit"),
    Case("judge of 60,000", forged("model.networks.discriminator.width", 60_000), 0, ""),
    Case("method os", forged("model.method", {"name": "os"}), 2, "there is no method 'os'"),
    Case("method path", forged("model.method", {"name": "../../x.__class__"}), 2, "there is no method"),
    Case("method of a network", forged("model.networks.generator.name", "cyclegan"), 2, "there is no translator"),
    Case("network that judges", forged("model.networks.generator.name", "patchgan"), 2, "there is no translator"),
    Case("unknown setting", forged("model.networks.generator.path", "/etc/passwd"), 2, "networks.generator.path"),
    Case("image size", forged("model.image_size", 10**9), 2, "image_size: 1000000000 is not allowed"),
    Case("channels", forged("model.images.channels_a", 9), 2, "images.channels_a: 9 is not allowed"),
    Case("long about", forged("model.about", "x" * 5000), 2, "about: 'xxx"),
    Case("NaN", spoilt(first_spoilt(math.nan)), 2, "holds values that are no numbers"),
    Case("infinity", spoilt(first_spoilt(-math.inf)), 2, "holds values that are no numbers"),
    Case("other tensor", spoilt(lambda weights: weights | {"x" * 900: torch.zeros(1)}), 2, "1 unknown"),
    Case("no tensors", spoilt(lambda weights: {}), 2, "missing"),
    Case("other shape", spoilt(lambda w: {name: torch.zeros(1) for name in w}), 2, "the weights do not fit"),
    Case("complex", spoilt(lambda w: {n: t.to(torch.complex64) for n, t in w.items()}), 2, "holds torch.complex64"),
]


@cache
def _drawn() -> tuple[dict[str, Any], dict[str, Tensor]]:
    return model("dcgan")


def sampling(*arguments: object, **files: bytes) -> Make:
    """``sample`` of a small dcgan, with files that are there before, their dots written as underlines."""

    def make(folder: Path) -> list[object]:
        write_model(folder / "m.safetensors", *_drawn())
        for name, content in files.items():
            (folder / name.replace("_", ".")).write_bytes(content)
        return ["sample", "--model", "m.safetensors", "--device", "cpu", *arguments]

    return make


PHOTO = b"a photograph"
SAMPLES = [
    Case("count", sampling("--count", 10**30), 2, "'--count'"),
    Case("memory: count", sampling("--count", 10**9), 2, "--count 1000000000"),
    Case("walk", sampling("--walk", 10**9, "-o", "w.png"), 2, "'--walk'"),
    Case("memory: walk", sampling("--walk", 10**6, "-o", "w.png"), 2, "--walk 1000000"),
    Case("count of a walk", sampling("--walk", 2, "--count", 5, "-o", "w.png"), 2, "leave it out with --walk"),
    Case("truncated walk", sampling("--walk", 2, "--truncation", 1, "-o", "w.png"), 2, "leave it out with --walk"),
    Case("count of terms", sampling("--arithmetic", "1+2", "--count", 5), 2, "leave it out with --arithmetic"),
    Case("truncated terms", sampling("--arithmetic", "1", "--truncation", 1), 2, "leave it out with --arithmetic"),
    Case("long term", sampling("--arithmetic", "9" * 5000), 2, "write numbers of the sheet like"),
    Case("long map", sampling("--drop-feature", "project:" + "9" * 300, "-o", "w.png"), 2, "File name too long"),
    Case("seed", sampling("--seed", 2**63), 2, "'--seed'"),
    Case("seed of terms", sampling("--seed", 2**80, "--arithmetic", "1+2"), 2, "'--seed'"),
    Case("negative seed", sampling("--seed", -1), 2, "'--seed'"),
    Case("truncation", sampling("--truncation", "nan"), 2, "truncation nan"),
    Case("JPEG", sampling("-o", "c.jpg"), 2, "a sheet is a PNG"),
    Case("a photograph", sampling("-o", "p.png", p_png=PHOTO), 2, "p.png exists", ("p.png",)),
    Case("P.PNG", sampling("-o", "P.PNG", P_PNG=PHOTO), 2, "P.PNG exists", ("P.PNG",)),
    Case("GIF", sampling("--walk", 2, "-o", "p.png", p_gif=PHOTO), 2, "p.gif exists", ("p.gif", "p.png")),
    Case("NUL", named("sample", "-o", "a\0b.png"), 2, "must not hold a NUL"),
]


def importing(value: Any, name: str = "g.pth") -> Make:
    """``import`` of what ``value`` is, saved by torch."""

    def make(folder: Path) -> list[object]:
        torch.save(value() if callable(value) else value, folder / name)
        return ["import", name, "-o", "out"]

    return make


class Code:
    """A pickle that runs a command when it is loaded by one who trusts it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def repacked(folder: Path) -> list[object]:
    torch.save({"model.1.weight": torch.zeros(10**7)}, folder / "big.pth")
    with (
        zipfile.ZipFile(folder / "big.pth") as old,
        zipfile.ZipFile(folder / "g.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return ["import", "g.pth", "-o", "out"]


def first_layer(**more: Tensor) -> dict[str, Tensor]:
    return {"model.1.weight": torch.zeros(4, 3, 7, 7), **more}


def many() -> dict[str, Tensor]:
    one = torch.zeros(0)
    blocks = {f"model.10.conv_block.{i}.weight": one for i in range(20_000)}
    return first_layer(**{"model.26.weight": torch.zeros(3, 4, 7, 7)}, **blocks)


def archived(folder: Path) -> list[object]:
    with zipfile.ZipFile(folder / "e.zip", "w") as archive:
        archive.writestr("a", b"x")
        archive.filelist[0].filename = archive.filelist[0].orig_filename = ""
    return ["data", "get", "horse2zebra", "--url", "e.zip"]


def output_file(folder: Path) -> list[object]:
    (folder / "lab").write_bytes(PHOTO)
    return ["lab", "divergences", "-o", "lab"]


OTHERS = [
    Case("pickle that runs", importing(Code()), 2, "wants to run code", ("ran",)),
    Case("pickle in a mapping", importing({"model.1.weight": Code()}), 2, "wants to run code", ("ran",)),
    Case("one number as many", importing(lambda: first_layer(x=torch.zeros(1).expand(10**6, 10**6))), 2, "larger than"),
    Case("compressed", repacked, 2, "compressed inside"),
    Case("key of a tuple", importing({((1,) * 9,) * 9: torch.zeros(1)}), 2, "no plain tensor"),
    Case("key long", importing({"x" * 5000: 3}), 2, "no plain tensor"),
    Case("sparse tensor", importing({"a": torch.zeros(2, 2).to_sparse()}), 2, "no plain tensor"),
    Case("many unknown tensors", importing(many), 2, "g.pth"),
    Case("import a folder", named("import", "."), 2, "a folder"),
    Case("import a device", named("import", "/dev/zero"), 2, "no such file"),
    Case("nameless entry", archived, 2, "e.zip: "),
    Case("lab into a file", output_file, 2, "lab", ("lab",)),
    Case("features of nothing", named("features", "nowhere", "--model", "m.safetensors"), 2, "nowhere"),
    Case("lab: seed", named("lab", "nash", "--seed", 2**63), 2, "'--seed'"),
    Case("features: seed", named("features", "digits", "--seed", 2**63), 2, "'--seed'"),
    Case("filters: seed", named("filters", "digits", "--seed", 2**63), 2, "'--seed'"),
    Case("demo: seed", named("demo", "--seed", -1), 2, "'--seed'"),
    Case("translate: seed", named("translate", "x.png", "--seed", 2**63), 2, "'--seed'"),
    Case("train: seed", named(*TRAIN, "--seed", 2**63), 2, "training.seed"),
    Case("resume nothing", named("train", "--resume", "nowhere"), 2, "nowhere"),
]

CASES = [*CONFIGS, *SETTINGS, *WEIGHTS, *SAMPLES, *OTHERS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    case.check(folder)


@pytest.mark.parametrize("case", [case for case in WEIGHTS if case.code], ids=lambda case: case.name)
def test_python_gets_the_same_answer(case: Case, tmp_path: Path) -> None:
    case.make(tmp_path)
    with pytest.raises(UserError):
        package.load(tmp_path / "m.safetensors", device="cpu")


def test_what_is_shown_of_a_weight_file_is_one_line(tmp_path: Path) -> None:
    header, weights = model()
    header = changed(header, "model.about", "\x1b[31mred\nerror: fake\u202e")
    header = changed(changed(header, "model.arch", "\x1b[2Jarch\n"), "step", 0)
    write_model(tmp_path / "m.safetensors", header, weights)
    config = package.load(tmp_path / "m.safetensors", device="cpu").config
    assert config.about == "\\x1b[31mred\\nerror: fake\\u202e"
    assert config.arch == "\\x1b[2Jarch\\n"
