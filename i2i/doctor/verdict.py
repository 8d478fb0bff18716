"""The verdict of a run, finished or not: what its figures said, and what its newest weights make of held-out images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from i2i.config.schema import Config, Device
from i2i.data.load import load_training_set
from i2i.data.training_set import TrainingData
from i2i.display import counted
from i2i.doctor.examine import images_for, look_at_outputs
from i2i.doctor.records import read_records
from i2i.doctor.sign import Finding
from i2i.doctor.signs import FEW_IMAGES, FEW_STEPS
from i2i.doctor.watch import Watch, findings_of
from i2i.errors import UserError
from i2i.inference.load import load
from i2i.methods.base import Method
from i2i.storage.files import write_atomically
from i2i.storage.runs import RunFolder

MORE = 3
"""A look on its own takes this many times as many images as one beside a training."""


@dataclass(frozen=True)
class Verdict:
    """What the doctor found.

    Attributes:
        run: the folder.
        arch: the recipe.
        step: how far it has come, by its figures.
        findings: every sign that could be measured.
        unseen: why something could not be measured; a line each.
    """

    run: RunFolder
    arch: str
    step: int
    findings: list[Finding]
    unseen: list[str]

    @property
    def on(self) -> list[Finding]:
        """The signs that are on."""
        return [finding for finding in self.findings if finding.on]

    def lines(self) -> Iterator[str]:
        """A table of all figures, and what to do about the signs that are on."""
        yield f"{self.run.root}: {self.arch}, {counted(self.step, 'step')}"
        width = max((len(finding.tag) for finding in self.findings), default=0)
        for finding in self.findings:
            sign, mark = finding.sign, "SIGN" if finding.on else "ok"
            yield f"{mark:4}  {finding.tag:{width}}  {finding.value:10.4g}  a sign {sign.bounds}"
        for reason in self.unseen:
            yield f"not measured: {reason}"
        for finding in self.on:
            yield f"SIGN  {finding.line()}"
        if not self.on:
            yield f"healthy: none of {len(self.findings)} figures is a sign" if self.findings else "nothing measured"

    def write(self, path: Path) -> None:
        """Writes the findings as JSON."""
        found = [
            {
                "figure": finding.tag,
                "value": finding.value,
                "sign": finding.on,
                "side": finding.sign.side,
                "threshold": finding.sign.threshold,
            }
            for finding in self.findings
        ]
        content = {"run": str(self.run.root), "arch": self.arch, "step": self.step, "not_measured": self.unseen}
        write_atomically(path, (json.dumps(content | {"findings": found}, indent=2) + "\n").encode())


def examine_run(root: Path, *, device: Device = "auto") -> Verdict:
    """Reads what a run has measured, and looks at the outputs of its newest weights.

    Args:
        root: the folder of the run.
        device: where to translate.

    Raises:
        DataError: this is no run folder.
        ConfigError: its configuration was edited into something invalid, or the device is not there.
    """
    run = RunFolder(root)
    config = run.read_config()
    records, unseen = list(read_records(run.metrics)), list[str]()
    step = records[-1]["step"] if records else 0
    known = {finding.tag: finding for finding in findings_of(records)}
    if not known:
        unseen.append(f"{run.metrics} has no figures of health (health.enabled, health.every)")
    fresh = Watch()
    fresh.add(_steps(run, step))
    try:
        data = _data_of(config)
        fresh.add({f"health/{FEW_IMAGES.name}": data.smallest() / _method_of(config).few_images})
        fresh.add(_outputs(run, config, data, device))
    except UserError as error:
        unseen.append(f"outputs: {error}")
    known |= {finding.tag: finding for finding in fresh.findings()}
    return Verdict(run, config.arch, step, [known[tag] for tag in sorted(known)], unseen)


def _steps(run: RunFolder, step: int) -> Mapping[str, float]:
    """How long a run was that trains no more."""
    return {} if run.lock.exists() else {f"health/{FEW_STEPS.name}": step}


def _method_of(config: Config) -> type[Method]:
    return Method.named(config.method["name"])


def _data_of(config: Config) -> TrainingData:
    config.data.require_there()
    method = _method_of(config)
    labels = method.uses_labels(config.method)
    return load_training_set(config.data, method.needs, image_size=config.image_size, labels=labels)


def _outputs(run: RunFolder, config: Config, data: TrainingData, device: Device) -> Mapping[str, float]:
    """The figures of the newest weights' outputs."""
    count = MORE * images_for(_method_of(config))
    batch = data.examples(count, held_out=True) or data.examples(count, held_out=False)
    return {} if batch is None else look_at_outputs(load(run.root, device=device, fastest=False), batch)
