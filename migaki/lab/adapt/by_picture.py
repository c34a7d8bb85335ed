"""Which test picture each model reads rightly: so that arms of few models can be compared picture by picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from migaki.core import hardware
from migaki.core.files import make_folder, read_json, write_json
from migaki.core.trained import load_system
from migaki.judges.labels import Labels, open_for
from migaki.lab.arms import Outcome

_CHUNK = 256  # pictures read at once


def write_rights(models: Mapping[str, Sequence[Path]], test: Path, out: Path) -> None:
    """Write `right.json` to `out`: for each arm and model a 1 for every picture of `test` whose class it reads rightly.
    """
    device = hardware.choose_device("auto")
    found = {slug: [_rights(run, test, device) for run in runs] for slug, runs in models.items()}
    write_json(make_folder(out) / "right.json", found)


def _rights(run: Path, test: Path, device: torch.device) -> list[int]:
    system = load_system(run).to(device)
    folder = open_for(system, Labels.Config(data=test))
    right: list[int] = []
    for start in range(0, len(folder), _CHUNK):
        batch = folder.read(range(start, min(start + _CHUNK, len(folder))), ("image", "label"))
        with torch.inference_mode():
            read = system.predict({"image": batch["image"].to(device)})["logits"].argmax(1).cpu()
        right += (read == batch["label"]).int().tolist()
    return right


def with_rights(outcomes: Mapping[str, Outcome], path: Path) -> dict[str, Outcome]:
    """Returns the outcomes with each picture's share of right answers in per cent, where `path` has them."""
    known = read_json(path) if path.exists() else {}
    return {slug: replace(outcome, each=100 * np.array(known[slug], np.float64)) if slug in known else outcome
            for slug, outcome in outcomes.items()}
