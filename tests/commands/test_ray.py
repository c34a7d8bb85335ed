"""The commands on a Ray cluster of two workers: the same files, byte for byte, as one process writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from migaki.cli import main
from migaki.core.fit import Run
from migaki.stages.train import train
from migaki.systems.simgan import SimGAN

FEW = ["--count", "70", "--width", "40", "--height", "24", "--supersample", "1"]  # two workers' shares


def files(folder: Path) -> dict[str, bytes]:
    """Content by name; dataset.json without the command and the folder's own name, which differ."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    info = json.loads(found.pop("dataset.json"))
    told = {key: value for key, value in info.items() if key not in ("command", "parent")}
    return found | {"dataset.json": json.dumps(told).encode()}


@pytest.mark.slow
def test_simulate_and_apply_on_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="needs the extra migaki[ray]")
    monkeypatch.chdir(tmp_path)
    cluster = ["--engine", "ray", "--workers", "2"]
    assert main(["simulate", "eyes", *FEW, "--out", "one"]) == 0
    assert main(["simulate", "eyes", *FEW, "--out", "many", *cluster]) == 0
    assert files(Path("many")) == files(Path("one")) and len(files(Path("one"))) >= 72
    config = replace(SimGAN.tiny()[0], channels=0, height=0, width=0, steps=2)
    train(SimGAN, SimGAN.Data(synthetic=Path("one"), real=Path("one")), config,
          Run(device="cpu", precision="fp32", sample_every=0), Path("refiner"), quiet=True)
    plain = ["--device", "cpu", "--precision", "fp32"]
    assert main(["apply", "refiner", "--input", "one", "--out", "refined_one", *plain]) == 0
    assert main(["apply", "refiner", "--input", "one", "--out", "refined_many", *plain, *cluster]) == 0
    assert files(Path("refined_many")) == files(Path("refined_one"))
