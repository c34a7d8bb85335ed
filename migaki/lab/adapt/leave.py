"""What an adaptation leaves: the chosen model, the same as ONNX with a script that needs nothing of ours."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

from migaki.core.files import atomic_write, make_folder, write_text
from migaki.core.trained import load_system, read_record
from migaki.lab.adapt.recipes import model_folder
from migaki.lab.adapt.state import Adaptation
from migaki.lab.chain import Step
from migaki.lab.steps import apply_step, call_step, export_set_step, export_step
from migaki.stages.apply import ApplyJob
from migaki.stages.export_labels import FORMS

_KEPT = ("config.json", "README.md", "metrics.jsonl")  # the weights follow last: they prove the copy whole


def leave(work: Adaptation) -> list[Step]:
    """Returns the steps that copy the first model of the chosen arm to `model/` and write it as ONNX to `onnx/`."""
    assert work.chosen is not None
    source, model = model_folder(work.out, work.chosen.slug, 0), work.out / "model"
    found = [call_step(f"copy the run {source.name}", lambda: _copy(source, model), model / "model.safetensors",
                       [source])]
    found += _chosen_set(work)
    if work.sets.task.name == "label":
        found.append(apply_step(model, ApplyJob(input=work.out / "photos", out=work.out / "read_chosen"), work.quiet))
    if can_export():
        found.append(export_step(model, work.out / "onnx" / "model.onnx", work.quiet))
    return found


def _chosen_set(work: Adaptation) -> list[Step]:
    """Returns the step that writes the pictures of the chosen arm in the format in which SIMULATED was given.

    A format that nobody writes here, and a folder of our own form, need none: the pictures lie in `simulated`,
    `matched` or `refined`.
    """
    form = str(work.sets.simulated.made.get("importer", ""))
    if form not in FORMS or work.sets.task.name not in ("boxes", "mask"):
        return []
    place = work.out / "chosen_set"
    target = place / ("annotations.json" if form == "coco" else form)
    return [export_set_step(work.out / chosen_folder(work), form, target, place / "counts.json")]


def chosen_folder(work: Adaptation) -> str:
    """Returns the name of the folder of pictures, changed or not, that the chosen arm learned from."""
    assert work.chosen is not None
    data = work.recipe(work.chosen.slug).data
    return next((name for name in ("refined", "matched") if name in data), "simulated")


def can_export() -> bool:
    """Whether what ONNX takes is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime", "onnxscript"))


def _copy(source: Path, out: Path) -> None:
    make_folder(out)
    for name in (*_KEPT, "model.safetensors"):
        if (source / name).exists():
            with atomic_write(out / name) as file, (source / name).open("rb") as content:
                shutil.copyfileobj(content, file)


def write_script(model: Path, out: Path) -> None:
    """Write `infer.py` to `out`, which runs `onnx/model.onnx` there with onnxruntime, NumPy and Pillow alone."""
    system, config = load_system(model), read_record(model)["config"]
    shape = system.shape
    assert shape is not None
    values: dict[str, Any] = {"SIZE": (shape[2], shape[1]), "MODE": "L" if shape[0] == 1 else "RGB",
                              "CLASSES": tuple(config.get("classes", ()))}
    lines = [f"{name} = {json.dumps(value) if isinstance(value, str) else repr(value)}"
             for name, value in values.items()]
    text = _SCRIPT.replace("@CONSTANTS@", "\n".join(lines))
    write_text(out / "infer.py", text)


_SCRIPT = '''\
"""Read pictures with the model: python infer.py PICTURE [PICTURE ...]"""
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

@CONSTANTS@

session = onnxruntime.InferenceSession(str(Path(__file__).parent / "onnx" / "model.onnx"))
for path in sys.argv[1:]:
    picture = ImageOps.fit(Image.open(path).convert(MODE), SIZE, Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, np.float32).reshape(1, SIZE[1], SIZE[0], -1).transpose(0, 3, 1, 2) / 255
    for output, value in zip(session.get_outputs(), session.run(None, {session.get_inputs()[0].name: pixels})):
        if output.name == "logits" and value.ndim == 2:
            best = int(value[0].argmax())
            share = np.exp(value[0] - value[0].max())
            print(path, CLASSES[best] if CLASSES else best, round(float(share[best] / share.sum()), 4))
        else:
            print(path, output.name, value[0].round(4).tolist())
'''
