"""The report of a run, as one string: a page of one file, which runs nothing and loads nothing."""

from __future__ import annotations

import json

from i2i.config.schema import to_yaml
from i2i.config.telling import apart_from_recipe
from i2i.display import counted, one_line
from i2i.pages.one_file import rendered, text_of
from i2i.report.charts import HEALTH, HEIGHT, LEFT, RIGHT, WIDTH, drawing, sections_of
from i2i.report.facts import Facts
from i2i.report.measured import measured_of
from i2i.report.samples import strips_of


def render(facts: Facts) -> str:
    """The page as HTML."""
    problems = list(facts.unread)
    sections = sections_of(facts.records)
    last_step = max((record["step"] for record in facts.records), default=0)
    findings = facts.findings
    return rendered(
        "i2i.report",
        "page.html",
        style=text_of("i2i.report", "page.css"),
        title=facts.name,
        config=facts.config,
        facts=_shown(facts),
        from_noise=facts.makes_from_noise,
        strips=strips_of(facts.run, max(facts.step, last_step), problems),
        findings=findings,
        on=[finding for finding in findings if finding.on],
        measured=measured_of(facts.run, problems),
        sections=[
            {
                "title": section.title,
                "left_out": section.left_out,
                "folded": section.title == HEALTH,  # the table of signs has their newest values
                "charts": [drawing(chart, last_step) for chart in section.charts],
            }
            for section in sections
        ],
        size={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT},
        apart=[(path, _value(one.value), _value(one.usual)) for path, one in apart_from_recipe(facts.config).items()],
        settings=to_yaml(facts.config),
        commands=facts.commands,
        problems=[one_line(problem) for problem in problems],
    )


def _shown(facts: Facts) -> list[tuple[str, str]]:
    """What stands at the top: names and texts; what is not known is left out."""
    training = facts.config.training
    shown = [
        ("State", facts.state),
        ("Trained", facts.trained),
        ("Asked for", facts.length),
        (
            "Best weights",
            "" if facts.best_step is None else f"after {counted(facts.best_step, 'step')} (best.safetensors)",
        ),
        ("Data", facts.config.data.title),
        ("Training images", facts.images),
        ("Image size", f"{facts.config.image_size} px"),
        ("Batch", f"{training.batch_size}" + (f" x {training.accumulate}" if training.accumulate > 1 else "")),
        ("Seed", str(training.seed)),
        ("Device", f"{training.device} in {training.precision}, CPU threads: {training.threads}"),
        ("Processes", f"{facts.processes:,}" if facts.processes > 1 else ""),
        ("Environment", facts.environment),
    ]
    return [(name, one_line(text)) for name, text in shown if text]


def _value(value: object) -> str:
    return "-" if value is None else one_line(value if isinstance(value, str) else json.dumps(value))
