"""The run folder: its files, the newest run, and the weight file that a user means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path

from i2i.config.resolve import parse_config, read_config
from i2i.config.schema import Config, to_yaml
from i2i.display import say
from i2i.errors import ConfigError, DataError, WeightsError
from i2i.storage.files import remove_temporaries, require_writable, write_atomically
from i2i.storage.hub import hub_weights, is_hub_name
from i2i.storage.lock import locked

RUNS = Path("runs")
EXPORTED = ".onnx"
"""The suffix of exported files that translate in the place of a run."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.yaml"

    @property
    def images(self) -> Path:
        """The names of the training images in their order."""
        return self.root / "images.json"

    @property
    def model(self) -> Path:
        """The newest inference weights."""
        return self.root / "model.safetensors"

    @property
    def best(self) -> Path:
        """The inference weights that were best by the watched metric, in a run that watches one."""
        return self.root / "best.safetensors"

    @property
    def fastest(self) -> Path:
        """How it is translated fastest on a machine, where that has been measured."""
        return self.root / "fastest.json"

    @property
    def metrics(self) -> Path:
        """One JSON line at each logging cadence."""
        return self.root / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """The folder of TensorBoard files."""
        return self.root / "tb"

    @property
    def samples(self) -> Path:
        """The folder of preview images."""
        return self.root / "samples"

    @property
    def report(self) -> Path:
        """The page that shows people what became of the run."""
        return self.root / "report.html"

    @property
    def card(self) -> Path:
        """The card of the model; once somebody has edited it, it stays."""
        return self.root / "MODEL_CARD.md"

    @property
    def launch(self) -> Path:
        """What tells the launch of processes that made it from others, where torchrun may start them again."""
        return self.root / "launch"

    @property
    def lock(self) -> Path:
        """Names the process that trains; there while it does."""
        return self.root / "run.lock"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes from training this run, and finds out whether everything can be written.

        Raises:
            DataError: another process trains it, or its files cannot be written.
        """
        with locked(self.lock, f"the run {self.root}"):
            remove_temporaries((self.root, self.checkpoint(0).parent, self.samples))
            self._require_writable()
            yield

    def require_new(self) -> None:
        """Refuses a folder in which a run has been started since it was found to be empty.

        Raises:
            DataError: it holds a configuration.
        """
        if self.config.exists():
            raise DataError(f"{self.root} exists and is not empty: continue it with --resume")

    def remove_if_empty(self) -> None:
        """Takes back a folder in which nothing could be written."""
        for folder in (self.checkpoint(0).parent, self.root):
            with suppress(OSError):
                folder.rmdir()

    def _require_writable(self) -> None:
        for path in (self.config, self.model, self.checkpoint(0)):
            require_writable(path)

    def checkpoint(self, step: int) -> Path:
        """The full training state after ``step`` steps."""
        return self.root / "checkpoints" / f"step-{step:08d}.safetensors"

    def checkpoints(self) -> list[Path]:
        """All full training states, oldest first."""
        files = (self.root / "checkpoints").glob("step-*.safetensors")
        return sorted(path for path in files if path.stem.removeprefix("step-").isdecimal())

    def write_config(self, config: Config) -> None:
        """Writes the resolved configuration.

        Raises:
            DataError: the folder cannot be written.
        """
        write_atomically(self.config, to_yaml(config).encode())

    def require(self) -> None:
        """Refuses a folder that is none of a run.

        Raises:
            DataError: it has no config.yaml.
        """
        if not self.config.is_file():
            raise DataError(f"{self.root} is not a run folder: it has no config.yaml")

    def read_config(self) -> Config:
        """The configuration that this run was started with.

        Raises:
            DataError: this is not a run folder.
            ConfigError: its configuration was edited into something invalid.
        """
        self.require()
        try:
            return parse_config(read_config(self.config))
        except ConfigError as error:
            raise ConfigError(f"{error}; restore {self.config} as it was when the run was started") from None


def new_run(arch: str, wanted: Path | None) -> RunFolder:
    """A folder for a new run: ``wanted``, or one under runs/ named by arch and time.

    Raises:
        DataError: the folder exists and is not empty; a run is never overwritten.
    """
    if wanted is None:
        return RunFolder(_claim(arch))
    if wanted.is_file():
        raise DataError(f"{wanted} is a file; --run takes a folder")
    run = RunFolder(wanted)
    try:
        if wanted.is_dir() and any(path != run.lock for path in wanted.iterdir()):
            hint = "continue it with --resume" if run.config.exists() else "choose another with --run"
            raise DataError(f"{wanted} exists and is not empty: {hint}")
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the run folder {wanted}: {error.strerror or error}") from None
    return run


def _claim(arch: str) -> Path:
    """Makes a folder under runs/ that nobody else has made: whoever comes second in the same second gets a number."""
    stamp = f"{arch}-{datetime.now():%Y%m%d-%H%M%S}"
    try:
        RUNS.mkdir(parents=True, exist_ok=True)
        for name in chain([stamp], (f"{stamp}-{number}" for number in range(2, 10_000))):
            try:
                (RUNS / name).mkdir()
                return RUNS / name
            except FileExistsError:
                continue
    except OSError as error:
        raise DataError(f"cannot make a run folder under {RUNS}: {error.strerror or error}") from None
    raise DataError(f"{RUNS} has 10,000 runs named {stamp}: name one with --run")


def newest_run() -> RunFolder:
    """The run under runs/ whose weights were written last.

    Raises:
        DataError: there is none.
    """
    written = [(path.stat().st_mtime_ns, path.parent) for path in RUNS.glob("*/model.safetensors")]
    if not written:
        raise DataError("no trained run under runs/ yet: train one with i2i train, or name one with --model")
    return RunFolder(max(written)[1])


def weight_file(model: str | Path | None) -> Path:
    """The weight file that ``model`` means: a file, a run folder, a name of the hub, or (None) the newest run.

    Of a run that watches a metric it is the file of the best weights.

    Raises:
        DataError: there is no run, or the hub cannot be reached.
        WeightsError: no such file, an exported one, or a run that has written no weights yet; or as ``hub_weights``.
    """
    if is_hub_name(model):
        return hub_weights(str(model))
    path = newest_run().root if model is None else Path(model)
    if path.is_dir():
        run = RunFolder(path)
        if not run.model.is_file() and run.config.is_file():
            raise WeightsError(
                f"{path} has written no weights yet: a run writes them with its checkpoints "
                "(training.checkpoint_seconds), and at its end"
            )
        if not run.model.is_file():
            raise WeightsError(f"{path} holds no model.safetensors; give a run folder or a weight file")
        return run.best if run.best.is_file() else run.model
    if not path.exists():
        raise WeightsError(f"{path}: no such run folder or weight file")
    if is_exported(path):
        raise WeightsError(
            f"{path} is an exported file, which i2i translate and i2i serve take: here give the run, or its weights"
        )
    return path


def model_file(model: str | Path | None) -> Path:
    """The file that ``model`` means to what translates alone, for which exported files are models too.

    Raises:
        WeightsError: no such exported file.
        DataError, WeightsError: as ``weight_file``.
    """
    if model is None or not is_exported(model):
        return weight_file(model)
    path = Path(model)
    if not path.exists():
        raise WeightsError(f"{path}: no such exported file")
    return path


def is_exported(model: str | Path | None) -> bool:
    """Whether ``model`` names an exported file, by its suffix."""
    return model is not None and not is_hub_name(model) and Path(model).suffix.lower() == EXPORTED


def say_if_best(model: str | Path | None, path: Path) -> None:
    """Says it where the weights that ``model`` means, in ``path``, are a run's best and not its last ones."""
    run = RunFolder(path.parent)
    if path == run.best and (model is None or Path(model).is_dir()):
        say(f"taking {path}, which was best by the metric that the run watches; its last weights: {run.model.name}")
