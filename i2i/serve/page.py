"""The page: drop an image or use the camera, and compare it with its translation; sheets and walks of noise models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from i2i.inference.sampler import Sampler
from i2i.serve.engine import MOST_SAMPLES, MOST_STOPS, Engine
from i2i.serve.folder import put
from i2i.serve.models import Served
from i2i.serve.refused import Refused

Answer = TypeVar("Answer")
ALL_LABELS = "all in turn"
FONT = ["system-ui", "sans-serif"]
THEME = gr.themes.Default(primary_hue="blue", font=FONT, font_mono=["ui-monospace", "monospace"])
"""With the fonts of the system: others would be asked for from afar."""
CAMERA = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}}
"""Images of a size that a CPU translates while one waits."""
AS_SENT: dict[str, Any] = {"preprocess": False}
"""Functions get their inputs as ``admission`` has let them through: gradio would open images itself."""
CSS = ".gradio-container { width: 100% !important; max-width: 70rem !important; margin: 0 auto !important }"


def build_page(engine: Engine, folder: Path) -> gr.Blocks:
    """The page of all models that it can show.

    Args:
        engine: what computes.
        folder: where translations are put for the browser to fetch.
    """
    translators = {name: served for name, served in engine.models.items() if served.shown_directions}
    samplers = {name: served for name, served in engine.models.items() if isinstance(served.model, Sampler)}
    with gr.Blocks(title="i2i", analytics_enabled=False) as page:
        gr.Markdown("# i2i")
        if translators:
            with gr.Tab("Translate an image"):
                _translate_tab(engine, translators, folder)
        if samplers:
            with gr.Tab("Generate images"):
                _generate_tab(engine, samplers, folder)
        if not translators and not samplers:
            gr.Markdown("The models that are served take arrays, which a browser does not send: see `/openapi.json`.")
    return page


def _translate_tab(engine: Engine, models: dict[str, Served], folder: Path) -> None:
    first = next(iter(models.values()))
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            model = _model_choice(models)
            direction = gr.Radio(first.shown_directions, value=first.shown_directions[0], label="Direction")
            image = gr.Image(
                label="Image",
                sources=["upload", "webcam", "clipboard"],
                height=300,
                elem_id="image",
                webcam_options=gr.WebcamOptions(mirror=False, constraints=CAMERA),
            )
            answer = gr.Number(
                1, label="Answer", precision=0, minimum=1, maximum=2**52, visible=first.has_answers, elem_id="answer"
            )
            alpha = gr.Checkbox(False, label="Download it with the image's transparency", elem_id="alpha")
            button = gr.Button("Translate", variant="primary", elem_id="translate")
        with gr.Column(scale=3, min_width=280):
            slider = gr.ImageSlider(label="Image | translation", format="png", interactive=False, elem_id="slider")
            download = gr.DownloadButton("Download the translation", visible=False, elem_id="download")

    def translate(name: str, chosen: str, sent: Mapping[str, str] | None, number: int, keeps: bool) -> tuple[Any, Any]:
        if sent is None:
            return None, gr.DownloadButton(visible=False)
        path = Path(sent["path"])
        made = _computed(engine, lambda: engine.translation(name, chosen, path, answer=number, alpha=keeps))
        file = put(folder, f"translation{made.suffix}", made.content)
        return (made.before, made.after), gr.DownloadButton(value=file, visible=True)

    def offered(name: str) -> tuple[Any, Any]:
        directions = models[name].shown_directions
        return gr.Radio(directions, value=directions[0]), gr.Number(visible=models[name].has_answers)

    inputs = [model, direction, image, answer, alpha]
    asked = {"fn": translate, "inputs": inputs, "outputs": [slider, download], **AS_SENT}
    model.input(offered, model, [direction, answer], show_progress="hidden", **AS_SENT).then(**asked)
    gr.on([image.change, direction.input, answer.input, alpha.input, button.click], **asked)


def _generate_tab(engine: Engine, models: dict[str, Served], folder: Path) -> None:
    first = next(iter(models.values()))
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            model = _model_choice(models)
            label = gr.Dropdown(_labels(first), value=ALL_LABELS, label="Label", visible=_has_labels(first))
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**53 - 1)
            count = gr.Slider(1, MOST_SAMPLES, value=20, step=1, label="Images on the sheet")
            sheet_button = gr.Button("Sheet", variant="primary", elem_id="sheet")
            stops = gr.Slider(2, MOST_STOPS, value=4, step=1, label="Images on the walk")
            walk_button = gr.Button("Walk", elem_id="walk")
        with gr.Column(scale=3, min_width=280):
            shown = gr.Image(
                label="Samples", height=400, interactive=False, buttons=["download", "fullscreen"], elem_id="samples"
            )

    def one_label(chosen: str) -> str | None:
        return None if chosen == ALL_LABELS else chosen

    def sheet(name: str, chosen: str, number: int, many: int) -> Path:
        content = _computed(engine, lambda: engine.sheet(name, count=many, label=one_label(chosen), seed=number))
        return put(folder, "sheet.png", content)

    def walk(name: str, chosen: str, number: int, many: int) -> Path:
        content = _computed(engine, lambda: engine.walk(name, stops=many, label=one_label(chosen), seed=number))
        return put(folder, "walk.gif", content)

    def labels(name: str) -> Any:
        return gr.Dropdown(_labels(models[name]), value=ALL_LABELS, visible=_has_labels(models[name]))

    model.input(labels, model, label, show_progress="hidden", **AS_SENT)
    sheet_button.click(sheet, [model, label, seed, count], shown, **AS_SENT)
    walk_button.click(walk, [model, label, seed, stops], shown, **AS_SENT)


def _model_choice(models: dict[str, Served]) -> gr.Dropdown:
    """Hidden where there is no choice."""
    names = list(models)
    return gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1, filterable=False)


def _has_labels(served: Served) -> bool:
    return bool(served.model.config.images.labels)


def _labels(served: Served) -> list[str]:
    return [ALL_LABELS, *served.model.config.images.labels]


def _computed(engine: Engine, task: Callable[[], Answer]) -> Answer:
    try:
        return engine.submit(task).result()
    except Refused as refused:
        raise gr.Error(str(refused), print_exception=False) from None
