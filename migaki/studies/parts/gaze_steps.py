"""Steps of the gaze study without a command of their own: k-NN, and adapting a trained model without new training."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from migaki.core import hardware
from migaki.core.checkpoint import save_model
from migaki.core.config import to_dict
from migaki.core.files import make_folder, write_json
from migaki.core.trained import load_system, read_record
from migaki.data.folder import ImageFolder
from migaki.lab.chain import Step
from migaki.lab.steps import call_step
from migaki.metrics.gaze import AngularError
from migaki.metrics.neighbours import knn_gaze
from migaki.report.evaluation import write_evaluation
from migaki.systems.gaze import Gaze


def judge_neighbours(train: Path, labelled: Path, k: int, out: Path) -> None:
    """Predict gaze from the k nearest images of `train`, judge it on `labelled`, and write an evaluation to `out`."""
    known = ImageFolder(train)
    tested = ImageFolder(labelled, size=known.shape[1:], channels=known.shape[0])
    images = known.read(range(len(known)), ("image", "gaze"))
    batch = tested.read(range(len(tested)), ("image", "gaze"))
    metric = AngularError()
    metric.update({"gaze": knn_gaze(images["image"], images["gaze"], batch["image"], min(k, len(known)))}, batch)
    write_evaluation(out, {"run": f"{k}-NN on {train}", "data": str(labelled)}, metric, tested.names,
                     folder=tested)


def adapt(run: Path, data: Gaze.Data, out: Path, *, match_prior: bool) -> None:
    """Write the model that training with the photographs `data.photos` would have given, from one trained without.

    Photographs change a gaze model after its last step only (`Gaze.finish`), so no training is repeated.
    """
    record, system = read_record(run), load_system(run)
    assert isinstance(system, Gaze)
    config = replace(system.config, adapt_norm=True, match_prior=match_prior)
    _, source = Gaze.open(data, config, record["run"]["seed"])
    system.config = config
    device = hardware.choose_device("auto")
    system.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    with torch.no_grad(), hardware.autocast(device, record["run"]["precision"]):
        system.finish(source)
    changed = copy.deepcopy(record)
    changed["config"] = to_dict(config)
    changed["data"] = {**record["data"], "photos": str(data.photos)}
    write_json(make_folder(out) / "config.json", changed)
    save_model(out / "model.safetensors", system)  # written last: if it exists, all other files do too


def adapt_step(run: Path, data: Path, photos: Path, out: Path, way: str, *, match_prior: bool) -> Step:
    """Returns `adapt`, for a run that was trained on `data`, as a step of a chain; `way` names it."""
    return call_step(f"adapt {run} to {photos} ({way}), as training with --photos would have",
                     partial(adapt, run, Gaze.Data(data=(data,), photos=photos), out, match_prior=match_prior),
                     out / "model.safetensors", [run, data, photos], 3)
