"""Options for runs of a few steps, and rows read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CPU = ["--device", "cpu", "--precision", "fp32"]
SHORT = [*CPU, "--log-every", "1", "--sample-every", "2", "--checkpoint-every", "2"]
TINY = {
    "simgan": [*SHORT, "--steps", "3", "--batch-size", "4", "--features", "4", "--blocks", "1", "--history", "8",
               "--refiner-pretraining", "0", "--discriminator-pretraining", "1", "--discriminator-width", "0.1"],
    "gaze": [*SHORT, "--steps", "3", "--batch-size", "32", "--features", "4"],
    "classifier": [*SHORT, "--steps", "3", "--batch-size", "4", "--features", "4"],
}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
