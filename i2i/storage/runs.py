"""The run folder: what lies where, which run is the newest, and which weight file a user means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from i2i.config.resolve import parse_config, read_config
from i2i.config.schema import Config, to_yaml
from i2i.errors import ConfigError, DataError, WeightsError
from i2i.storage.files import write_atomically

RUNS = Path("runs")


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
    def metrics(self) -> Path:
        """One JSON line at each logging cadence."""
        return self.root / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """The folder of TensorBoard files."""
        return self.root / "tb"

    @property
    def samples(self) -> Path:
        """The folder of preview pictures."""
        return self.root / "samples"

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
        stamp = f"{arch}-{datetime.now():%Y%m%d-%H%M%S}"
        names = [stamp, *(f"{stamp}-{n}" for n in range(2, 100))]
        wanted = next(RUNS / name for name in names if not (RUNS / name).exists())
    if wanted.is_file():
        raise DataError(f"{wanted} is a file; --run takes a folder")
    if wanted.is_dir() and any(wanted.iterdir()):
        hint = "continue it with --resume" if (wanted / "config.yaml").exists() else "choose another with --run"
        raise DataError(f"{wanted} exists and is not empty: {hint}")
    try:
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the run folder {wanted}: {error.strerror or error}") from None
    return RunFolder(wanted)


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
    """The weight file that ``model`` means: a file, a run folder, or (None) the newest run.

    Raises:
        DataError: there is no run.
        WeightsError: no such file, or a run that has written no weights yet.
    """
    path = newest_run().root if model is None else Path(model)
    if path.is_dir():
        if not RunFolder(path).model.is_file():
            raise WeightsError(f"{path} holds no model.safetensors; give a run folder or a weight file")
        return RunFolder(path).model
    if not path.exists():
        raise WeightsError(f"{path}: no such run folder or weight file")
    return path
