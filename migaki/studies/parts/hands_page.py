"""The page of the hand study: table 4 beside the paper's, the curve, hands as rendered, refined and seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.lab.pictures import show_training
from migaki.lab.study_report import StudyReport
from migaki.ops.landmarks import mark
from migaki.report.figures import error_curves
from migaki.report.sheets import sheet

PUBLISHED: dict[str, float | str] = {"synthetic": 69.7, "refined": 72.4, "real": 74.5, "synthetic_3x": 77.7,
                                     "refined_3x": 83.3}
"""Shrivastava et al., CVPR 2017, table 4: per cent within 5 px on the real NYU hands."""

SHOWN_AT = 224
"""px: errors are given at the paper's image width."""

_SHOWN = 10
_SEEN, _TIMES = 5, 4  # frames with joints on them, and how many times as large they are shown

_STAND_IN = """\
The frames are a stand-in, not photographs of a depth camera. They are renderings of the same hand in {poses}, \
damaged by published models of {kind} sensors (migaki simulate stand_in_depth): noise along and across the line \
of sight, quantised disparity, holes at grazing angles and outlines, the projector's shadow, missing fingers. \
The table shows whether refinement closes the gap between clean and sensed depth. The paper's figures are those of \
the real NYU hands with 72,757 frames at {size} px and networks of the published size; they cannot be compared with \
ours."""

_REAL = """\
The frames are those of {real} for training and {test} for the test. The paper's figures stand beside ours; its \
networks are larger and were trained for longer."""

_PROTOCOL = """\
Every network is a stacked hourglass of two stacks with {features} features at {size} x {size} px and took {steps} \
updates of {batch} images, turned by up to 20 degrees, scaled and shifted; the last weights are judged. Pixels are \
given as if images were {width} px wide, the paper's size: 5 px are {mm:.1f} mm at the hand's distance. The refiner \
was trained on rendered hands and on frames without their labels; each seed has its own refiner and its own networks, \
so the spread is that of both. "Images within 5 px" counts images whose error, the mean over 14 joints, is at most \
that; the paper does not say whether it counts images or joints, so both are given. All frames, including \
those without labels and those of the test, are cropped about the middle of their true joints, so finding the hand is \
not part of the task. No setting was chosen on the frames of the test."""

_ONE_SEED = " There is one seed only, so another refiner might give another result."


def compose_hands(report: StudyReport, config: Any, arms: Sequence[str], real: Path, test: Path) -> None:
    """Compose the hand study's page; `config` is that of `studies.hands`, `arms` the slugs in the table's order."""
    report.section("Table 4")
    if config.real is None:
        poses = "poses of real people, those of the test from another half of the table" if config.poses else \
            "random poses"
        report.text(_STAND_IN.format(poses=poses, kind=config.kind.replace("_", " "), size=SHOWN_AT))
    else:
        report.text(_REAL.format(real=real, test=test))
    report.compare("table4", arms, published=PUBLISHED, source="paper, real NYU, % within 5 px")
    report.contrasts("table4_differences", [("synthetic", "refined"), ("synthetic_3x", "refined_3x"),
                                            ("synthetic", "synthetic_3x"), ("real", "refined_3x")],
                     caption=_ONE_SEED if config.seeds == 1 else "")
    report.figure("table4_curve", error_curves(report.errors(arms), limit=20, mark=5,
                                               xlabel="mean error over the joints in px"),
                  "Share of test images by their error, over all seeds of an arm.", is_chart=True)
    report.section("Refined hands")
    _refined(report, config, real)
    report.section("Predicted joints")
    _found(report, config, arms, test)
    show_training(report.page, report.out / f"refiner_{config.seed}")
    report.section("Which data each network saw", is_folded=True)
    labels = ImageFolder(test).labels
    cube = float(labels["cube"].mean()) if "cube" in labels else 300.0
    report.text(_PROTOCOL.format(features=config.features, size=config.size, steps=config.steps,
                                 batch=config.batch_size, width=SHOWN_AT, mm=5 * cube / SHOWN_AT))


def _refined(report: StudyReport, config: Any, real: Path) -> None:
    before, after = (_first(report.out / name) for name in ("rendered_1", f"refined_1_{config.seed}"))
    change = ((after - before) + 0.5).clamp(0, 1)
    called = "real" if config.real else "stand-in"
    rows = [("rendered", before), ("refined", after), ("change", change), (called, _first(real, config.size))]
    report.figure("refined", sheet(rows, min_side=120), "The first hands, none chosen; columns of the first three rows "
                  "belong together. In the third row grey is no change. Greys are depth: dark is near, white is "
                  "background or no reading.")


def _found(report: StudyReport, config: Any, arms: Sequence[str], test: Path) -> None:
    """Show the first test images with each arm's joints (red) and the true ones (green)."""
    folder = ImageFolder(test, size=(config.size, config.size), channels=1)
    batch = folder.read(range(min(_SEEN, len(folder))), ("image", "joints"))
    large = torch.nn.functional.interpolate(batch["image"], scale_factor=float(_TIMES))
    rows: list[tuple[str, Tensor]] = []
    for slug in arms:
        system = load_system(report.out / f"{slug}_{config.seed}").eval()
        with torch.inference_mode():
            joints = system.predict({"image": batch["image"]})["joints"]
        shown = mark(large, _enlarged(batch["joints"][..., :2]), (0.0, 0.7, 0.2), radius=4)
        rows.append((report[slug].arm.name, mark(shown, _enlarged(joints), (0.9, 0.1, 0.1), radius=3)))
    report.figure("found", sheet(rows, min_side=_TIMES * config.size), "The first frames of the test, none chosen: "
                  "true joints green, found ones red.")


def _enlarged(points: Tensor) -> Tensor:
    """Returns positions of an image as positions in its enlargement; pixel centres are whole numbers."""
    return (points.float() + 0.5) * _TIMES - 0.5


def _first(folder: Path, size: int = 0) -> Tensor:
    images = ImageFolder(folder, size=(size, size) if size else None, channels=1)
    return images.read(range(min(_SHOWN, len(images))), ("image",))["image"]
