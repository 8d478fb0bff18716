"""The commands that README, docs and ``--help`` show: found, held against the real command line, and run.

``python -m tests.documented`` runs those of fences and of ``--help`` on tiny images and networks;
tests/test_documented.py parses all of them, also those inside of sentences.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from PIL import Image
from torch.distributed.run import get_args_parser

from i2i.cli import main
from i2i.cli.entry import cli
from i2i.cli.options import Setting
from i2i.config.resolve import recipe_names, resolve_config

from .conftest import draw, make_set, needs_of, small_settings
from .test_video import film

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:i2i|torchrun|python -m) [^`]+)`")
NOT_RUN = {
    "python3 -m venv *": "an installation: .ci/run makes one",
    ". .venv/bin/activate": "of the shell, for the commands after it",
    "pip install *": "an installation: .ci/run makes one, and the extras are looked up",
    "pytest": "the tests: .ci/run runs them",
    ".ci/run": "it runs this",
    "mkdocs *": "the site: .ci/run builds it",
    "jupyter *": "the notebook: .ci/run runs it",
    "tensorboard *": "a server, which runs until it is stopped",
    "torchrun *": "several processes or machines: tests/test_processes.py and benchmarks/two_hosts.py",
    "srun *": "needs SLURM",
    "export *": "of the shell, for the commands after it",
    "i2i data get ?*": "needs the network: tests/test_fetch.py has a server of its own",
    "* hf:*": "needs the hub: tests/test_hub.py has one of its own",
    "hf *": "the hub's own command",
    "i2i lab *": "half a minute or more: tests/test_lab.py",
    "i2i serve*": "a server, which runs until it is stopped",
    "curl *": "asks that server: tests/test_serve.py",
    "i2i train *--dry-run*": "half a minute: tests/test_planning.py",
    "*benchmarks.*": "minutes to hours; the module is looked up",
    "*tests.documented": "this",
}
"""Commands that are not run, and why."""
FOUND_OUT = {"doctor": (0, 1), "data": (0, 1)}
"""The exit codes of commands that say whether something is wrong; 0 for all others."""


@dataclass(frozen=True)
class Shown:
    """A command as it is shown.

    Attributes:
        place: file and line.
        text: in one line, with its comment.
        output: what it prints, where that is shown; ``...`` stands for anything.
        whole: whether it can be run as it is; what stands inside a sentence may be a part of a command.
    """

    place: str
    text: str
    output: str | None = None
    whole: bool = True

    @property
    def words(self) -> list[str]:
        """The words of the command: no comment, no variables before it, nothing after a redirection."""
        text = self.text
        if not self.whole:  # of alternatives the first; what may be left out is there; any number is 1
            text = re.sub(r"\bN\b", "1", re.sub(r"\\?\|[\w|\\]+|[][]", " ", text))
        words = [word for word in shlex.split(text, comments=True) if word != "..."]
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        ends = [number for number, word in enumerate(words) if word.startswith(">")]
        words = words[: ends[0]] if ends else words
        return [words[0].removeprefix(".venv/bin/"), *words[1:]] if words else []

    @property
    def why_not_run(self) -> str | None:
        """The reason why it is only parsed; None if it is run."""
        if not self.whole:
            return "part of a sentence"
        return next((why for form, why in NOT_RUN.items() if fnmatch.fnmatch(" ".join(self.words), form)), None)


def documents() -> list[Path]:
    """The files that show commands."""
    outside = ("README.md", "CONTRIBUTING.md", "datasets/README.md", "benchmarks/README.md")
    return [*(ROOT / name for name in outside), *sorted((ROOT / "docs").rglob("*.md"))]


def shown_commands() -> Iterator[Shown]:
    """Every command of these files and of the examples in --help."""
    for path in documents():
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
        for fence in FENCE.finditer(text):
            line = text.count("\n", 0, fence.start()) + 2
            yield from _of_fence(fence[2], fence[1], f"{name}:{line}")
        for inline in INLINE.finditer(
            re.sub(r"^```.*?^```$", lambda fence: re.sub(r"[^\n]", "", fence[0]), text, flags=re.M | re.S)
        ):
            yield Shown(
                f"{name}:{text.count(chr(10), 0, inline.start()) + 1}", " ".join(inline[1].split()), whole=False
            )
    for names, command in every_command(cli):
        for example in (command.epilog or "").replace("\b\n", "").splitlines()[1:]:
            if example.strip().startswith(("i2i ", "python ", "torchrun ")):
                yield Shown(f"i2i {' '.join(names)} --help", example.strip())


def _of_fence(text: str, language: str, place: str) -> Iterator[Shown]:
    if language == "console":
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield Shown(place, command, output)
        return
    for line in re.sub(r"\\\n", " ", text).splitlines():
        for command in line.split(" && "):
            if shlex.split(command, comments=True):
                yield Shown(place, " ".join(command.split()))


def every_command(
    command: click.Command, names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The commands below a group, by their words."""
    if isinstance(command, click.Group):
        for name, part in command.commands.items():
            yield from every_command(part, (*names, name))
    else:
        yield names, command


def require_known(shown: Shown) -> None:
    """Refuses a command that does not exist, or has other options.

    Raises:
        ValueError: says what is wrong.
    """
    words = shown.words
    match words:
        case ["torchrun", *rest] if "-m" in rest:
            _require_launched(rest, shown)
        case ["python" | "python3", "-m", module, *_] if module != "venv":
            if find_spec(module) is None:
                raise ValueError(f"there is no module {module}")
        case [program, *arguments] if Path(program).name == "i2i":
            _require_parsed(arguments, shown)
        case [program, "install", *wanted] if Path(program).name == "pip":
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
                "optional-dependencies"
            ]
            for extra in re.findall(r"\[([\w,]+)\]", " ".join(wanted)):
                if unknown := set(extra.split(",")) - set(extras):
                    raise ValueError(f"there is no extra {unknown}")
        case _ if shown.why_not_run is None:
            raise ValueError("nobody knows how to run this: see NOT_RUN")


def _require_launched(arguments: list[str], shown: Shown) -> None:
    try:
        launched = get_args_parser().parse_args(arguments)
    except SystemExit:
        raise ValueError("torchrun does not take this") from None
    program = shlex.join([launched.training_script, *launched.training_script_args])
    require_known(Shown(shown.place, program, whole=shown.whole))


def _require_parsed(arguments: list[str], shown: Shown) -> None:
    command: click.Command = cli
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        found = command.commands.get(name)
        if found is None:
            raise ValueError(f"there is no command {name}")
        command = found
    if isinstance(command, click.Group) or "--help" in arguments:
        return
    choices = [param.type for param in command.params if isinstance(param, click.Argument)]
    if len(arguments) == 1 and isinstance(choices[0] if choices else None, click.Choice) and arguments[0].isupper():
        return  # i2i lab NAME
    try:
        context = command.make_context(command.name, arguments)
    except (click.MissingParameter, click.BadOptionUsage):  # a part of a command lacks arguments
        if shown.whole:
            raise
        return
    if shown.output is None:  # where it is shown, it may be an error of these settings
        _require_resolved(command, context)


def _require_resolved(command: click.Command, context: click.Context) -> None:
    """Refuses settings that the recipe does not have."""
    arch = context.params.get("arch")
    if arch in recipe_names() and "assignments" in context.params:
        options = {each.path: context.params[str(each.name)] for each in command.params if isinstance(each, Setting)}
        resolve_config(arch, options=options, assignments=context.params["assignments"])


def make_workplace(root: Path) -> None:
    """The folders, files and runs that documented commands name."""
    make_set(root / "FOLDER", trainA=6, trainB=6, testA=12, testB=12, valA=2, valB=2)
    make_set(root / "LABELLED", **{f"{part}/{label}": 4 for part in ("train", "test") for label in ("3", "7")})
    for name in ("SUMMER", "WINTER", "IMAGES", "INPUT", "photos", "new-outlines", "new-drawings"):
        make_set(root, **{name: 12})
    make_set(root, outlines=40, drawings=40)
    for path in (root / "WINTER").iterdir():
        path.rename(path.with_stem(path.stem.replace("image", "snow")))
    for side in "AB":
        (root / f"DEEP/train{side}").mkdir(parents=True)
        for number in range(6):
            pixels = np.full((24, 24), 600 * number, np.uint16)
            Image.fromarray(pixels).save(root / f"DEEP/train{side}/{number}.png")
    make_set(root / "MIXED", trainA=6, trainB=6)
    (root / "MIXED/trainA/image03.png").write_bytes(b"<html>404 not found</html>")
    for name in ("photo.jpg", "image.png", "mosaic.tiff", "drawing.png"):
        draw(root / name, 1)
    film(root / "clip.mp4")
    shutil.copytree(root / "photos", root / "scans")
    shutil.copy(ROOT / "configs/cyclegan-fast.yaml", root / "mine.yaml")
    with chdir(root):
        for name, seed in (("NAME", "0"), ("ONE", "1"), ("OTHER", "2")):
            train = ["train", "--arch", "cyclegan", "--data", "FOLDER", "--run", f"runs/{name}", "--seed", seed]
            _require_done(_run(_tiny(train)))
        _require_done(_run(_tiny(["train", "--arch", "dcgan", "--data", "LABELLED", "--run", "noise"])))
        _require_done(_run(_tiny(["train", "--arch", "bicyclegan", "--data", "FOLDER", "--run", "answering"])))
        _require_done(_run(["export", "runs/NAME"]))
        shutil.copy("runs/NAME/AtoB.onnx", "AtoB.onnx")
        _require_done(_run(["export-state", "runs/NAME", "-o", "latest_net_G.pth"]))
        _require_done(_run(["import", "latest_net_G.pth", "-o", "runs/theirs"]))
        shutil.copytree("runs/NAME", "runs/colours")
        shutil.copy("runs/NAME/model.safetensors", "model.safetensors")


def _tiny(arguments: list[str]) -> list[str]:
    """The arguments of ``i2i`` with a tiny budget, and data and models that suit."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    match command:
        case "train" if "--resume" in arguments:
            return [*arguments, "--steps", "4"]
        case "train" | "bench" if "--from" in arguments or (command == "bench" and "--arch" not in arguments):
            return [*arguments, *(["--max-time", "5s"] if command == "bench" else ["--steps", "2"])]
        case "train" | "bench":
            return [
                *_suiting(arguments),
                *_small(arguments),
                *(["--max-time", "5s"] if command == "bench" else ["--steps", "2"]),
            ]
        case "sample":
            return [*arguments, "--model", "noise"]
        case "features":
            return ["LABELLED" if word == "DATA" else word for word in arguments] + [
                "--model",
                "noise",
                "--per-label",
                "2",
            ]
        case "filters":
            return ["FOLDER" if word == "DATA" else word for word in arguments] + [
                "--model",
                "runs/NAME",
                "--stage",
                "layer1",
                "--units",
                "2",
            ]
        case "translate" if "--samples" in arguments:
            return [*arguments, "--model", "answering"]
        case "translate" | "evaluate":
            return arguments if "--model" in arguments else [*arguments, "--model", "runs/NAME"]
        case "export":
            return [*arguments, "--overwrite"]
        case "demo":
            return [*arguments, "--time", "2s"]
        case _:
            return arguments


def _suiting(arguments: list[str]) -> list[str]:
    """The arguments with data that the recipe can learn from."""
    arch = _value_of(arguments, "--arch")
    suits = "LABELLED" if arch is not None and needs_of(arch) == "one domain" else "FOLDER"
    if any("data.depth_a" in word for word in arguments):
        suits = "DEEP"
    return [suits if word == "FOLDER" else word for word in arguments]


def _small(arguments: list[str]) -> list[str]:
    arch = _value_of(arguments, "--arch") or "cyclegan-fast"
    settings = [part for setting in small_settings(arch) for part in ("--set", setting)]
    size = [] if arch == "unrolled" else ["--image-size", "16"]
    return [*settings, *size, "--batch-size", "2"]


def _value_of(arguments: list[str], option: str) -> str | None:
    return arguments[arguments.index(option) + 1] if option in arguments else None


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    arguments: list[str]
    code: object
    text: str


def _run(arguments: list[str]) -> Ended:
    said = StringIO()
    sys.argv = ["i2i", *arguments]
    with redirect_stdout(said), redirect_stderr(said):
        try:
            main()
        except SystemExit as ended:
            return Ended(arguments, ended.code, said.getvalue())


def _require_done(ended: Ended, codes: tuple[int, ...] = (0,)) -> None:
    if ended.code not in codes:
        raise ValueError(f"i2i {shlex.join(ended.arguments)}: exit code {ended.code}: {ended.text.strip()[-500:]}")


def run_shown(shown: Shown) -> None:
    """Runs a command in the current folder.

    Raises:
        ValueError: it failed, or printed something else than is shown.
    """
    words = shown.words
    if words[:3] == ["python", "-m", "i2i.runtime"]:
        from i2i.runtime import main as runtime  # as that command does

        sys.argv = ["i2i.runtime", *words[3:]]
        with redirect_stdout(StringIO()) as said, redirect_stderr(said):
            try:
                code: object = runtime()
            except SystemExit as stopped:
                code = stopped.code
        _require_done(Ended(words, code or 0, said.getvalue()))
        return
    if shown.output is None:
        for made in (_value_of(words, "--run"), _value_of(words, "-o")):  # which other commands need
            shutil.rmtree(made or "", ignore_errors=True)
            Path(made or "nothing").unlink(missing_ok=True)
        _require_done(_run(_tiny(words[1:])), FOUND_OUT.get(words[1], (0,)))
        return
    ended = _run(words[1:])
    pattern = ".*".join(re.escape(" ".join(part.split())) for part in shown.output.split("..."))
    if re.fullmatch(pattern.replace(r"\ ", r"\s*"), " ".join(ended.text.split())) is None:
        raise ValueError(f"printed {ended.text!r}, and the page shows {shown.output!r}")


def run_all() -> int:
    """Runs every command that is shown; returns how many failed."""
    commands = {(shown.text, shown.output): shown for shown in shown_commands() if shown.whole}.values()
    todo = [shown for shown in commands if shown.why_not_run is None]
    failed = 0
    with TemporaryDirectory(prefix="i2i-documented-") as folder:
        os.environ.setdefault("I2I_CACHE", f"{folder}/cache")
        make_workplace(Path(folder, "fresh"))
        for number, shown in enumerate(todo):
            place = shutil.copytree(Path(folder, "fresh"), Path(folder, f"{number:03}"))
            begin = time.monotonic()
            try:
                with chdir(place):
                    run_shown(shown)
                print(f"{time.monotonic() - begin:5.1f} s  {shown.text}", flush=True)
            except ValueError as error:
                failed += 1
                print(f"FAILED {shown.place}: {shown.text}: {error}", flush=True)
            shutil.rmtree(place)
    for shown in commands:
        if shown.why_not_run is not None:
            print(f"not run ({shown.why_not_run}): {shown.text}")
    print(f"{len(todo) - failed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(min(run_all(), 1))
