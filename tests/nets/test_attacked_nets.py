"""Attacks on a published network from a file, and what is refused as a model to attack."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from published_files import write_net
from refusals import message
from toy_folders import write_folder

from migaki.changes.attack import Attack
from migaki.core.fit import Run
from migaki.nets.scorer import open_single
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob
from migaki.stages.train import train
from migaki.systems.classifier import Classifier
from migaki.systems.regressor import Regressor


def test_a_file_of_weights_is_attacked_by_the_name_of_a_class(tmp_path: Path) -> None:
    write_net(tmp_path / "lite0.safetensors", "efficientnet_lite0")
    data = write_folder(tmp_path / "data", 2, (32, 40), channels=3)
    scores = open_single(tmp_path / "lite0.safetensors")
    assert not any(parameter.requires_grad for parameter in scores.parameters()) and scores.num_classes == 1000
    name = scores.class_name(859)
    change = Attack(Attack.Config(model=tmp_path / "lite0.safetensors", target=name, steps=1, epsilon="16/255"))
    out = apply_change("attack", change, ApplyJob(input=data, out=tmp_path / "out"), quiet=True)
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert all(row["attack_linf"] <= 16 / 255 + 1e-6 and row["attack_l2"] > 0 for row in rows)
    assert "model_contents" in json.loads((out / "dataset.json").read_text())


def test_what_gives_no_single_class_is_refused(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", 4, (16, 20), channels=3)
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    run = Run(device="cpu", log_every=1, sample_every=0)
    train(Regressor, Regressor.Data(data=(data,)), Regressor.Config(columns=("side",), steps=1, batch_size=2,
                                                                    features=4), run, tmp_path / "number", quiet=True)
    assert "is no classifier of pictures" in message(lambda: open_single(tmp_path / "number"))
    (data / "metadata.jsonl").write_text("".join(json.dumps(
        {"file_name": row["file_name"], "labels": [number % 2, 2]}) + "\n" for number, row in enumerate(rows)))
    train(Classifier, Classifier.Data(data=(data,)), Classifier.Config(steps=1, batch_size=2, features=4), run,
          tmp_path / "several", quiet=True)
    assert "decides each class by itself" in message(lambda: open_single(tmp_path / "several"))
    torch.manual_seed(0)
    write_net(tmp_path / "headless.safetensors", "efficientnet_lite0", with_head=False)
    assert "not its last layer" in message(lambda: open_single(tmp_path / "headless.safetensors"))
