"""``--dry-run``: describes a run, measured with a few real steps, without writing anything."""

from __future__ import annotations

from i2i.config.schema import Config, TrainingConfig, to_yaml
from i2i.device import peak_memory
from i2i.display import counted, duration
from i2i.storage.weights import parameter_count
from i2i.training.schedule import describe
from i2i.training.start_from import take_weights
from i2i.training.trainer import Trainer

PROBE_STEPS = 3


def describe_run(config: Config) -> tuple[TrainingConfig, list[str]]:
    """How it would train here; and the resolved configuration, then networks, data, schedule, memory and time.

    Raises:
        ConfigError, DataError: as training would.
    """
    trainer = Trainer(config)
    take_weights(trainer.engine)
    training = trainer.config.training
    lines = [*to_yaml(trainer.config).rstrip().split("\n"), ""]
    lines += [
        f"{name:<18} {parameter_count(network) / 1e6:.3f} M parameters"
        for name, network in trainer.method.named_children()
        if parameter_count(network)
    ]
    lines.append(f"{'data':<18} {trainer.data.describe()}")
    lines += [f"{'':<18} {note}" for note in trainer.data.notes()]
    lines += [f"{'left out':<18} {problem}" for problem in trainer.data.problems()]
    lines.append(f"{'steps per epoch':<18} {trainer.steps_per_epoch:,}")
    lines.append(f"{'schedule':<18} {describe(training.schedule, trainer.total_steps, training.max_time)}")
    seconds = trainer.probe(PROBE_STEPS)
    left = trainer.total_steps * seconds
    limit = f", stopped after {duration(training.max_time)}" if training.max_time and training.max_time < left else ""
    lines.append(f"{'memory':<18} {peak_memory(trainer.device):.1f} GiB at peak in {PROBE_STEPS} steps")
    lines.append(
        f"{'time':<18} {seconds:.2f} s a step, {duration(left)} for {counted(trainer.total_steps, 'step')}{limit}"
    )
    return training, lines
