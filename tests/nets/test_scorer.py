"""Classifiers as functions to scores: runs of one class and of several, published files, what is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from published_files import write_net

from migaki.core.discovery import find_class, names_in
from migaki.core.errors import UserError
from migaki.core.system import System
from migaki.nets.scorer import SystemScorer, fit_pictures, open_scorer
from migaki.ops.attribution_layers import cam, dcsm, dcsm_layers, grad_cam
from migaki.systems.adapted_classifier import AdaptedClassifier
from migaki.systems.classifier import Classifier
from migaki.systems.regressor import Regressor


def test_scores_before_the_softmax() -> None:
    config, batch = Classifier.tiny()
    other, _ = AdaptedClassifier.tiny()
    for made in (Classifier(config).eval(), AdaptedClassifier(other).eval()):
        scorer = SystemScorer(made, "run")
        with torch.no_grad():
            assert torch.equal(scorer(batch["image"]), made.predict(batch)["logits"])
        assert not scorer.training and scorer.shape == (1, 8, 8) and scorer.num_classes == 3 and not scorer.several


def test_scores_before_the_sigmoid_of_a_classifier_of_several_classes() -> None:
    from dataclasses import replace

    config, batch = Classifier.tiny()
    made = Classifier(replace(config, several=True)).eval()
    scorer = SystemScorer(made, "run")
    with torch.no_grad():
        assert torch.allclose(scorer(batch["image"]), made.net(batch["image"] * 2 - 1), atol=1e-5)
    assert scorer.several


def test_a_system_that_is_no_classifier() -> None:
    config, _ = Regressor.tiny()
    with pytest.raises(UserError, match="run: is no classifier of pictures"):
        SystemScorer(Regressor(config).eval(), "run")


@pytest.mark.parametrize("name", sorted(names_in("systems", "System")))
def test_every_system_is_a_classifier_or_refused(name: str) -> None:
    made: type[System] = find_class("systems", name, System)
    config, batch = made.tiny()
    system = made(config).eval()
    try:
        scorer = SystemScorer(system, "run")
    except UserError as error:
        assert "run: is no classifier of pictures" in str(error)
        return
    with torch.no_grad():
        assert scorer(batch["image"]).shape == (len(batch["image"]), scorer.num_classes)


def test_published_files(tmp_path: Path) -> None:
    write_net(tmp_path / "w.safetensors", "squeezenet1_1")
    scorer = open_scorer(tmp_path / "w.safetensors")
    assert scorer.shape == (3, 0, 0) and scorer(torch.rand(1, 3, 40, 50)).shape == (1, 1000)
    assert scorer.class_number("pizza") == scorer.class_number("963") == 963 and scorer.class_name(963) == "pizza"
    assert fit_pictures(scorer, (3, 40, 31)).startswith("is 31x40 px, and") and fit_pictures(scorer, (3, 40, 32)) == ""
    write_net(tmp_path / "f.safetensors", "squeezenet1_1", with_head=False)
    with pytest.raises(UserError, match="holds the features of squeezenet1_1 and not its last layer"):
        open_scorer(tmp_path / "f.safetensors")
    with pytest.raises(UserError, match="neither a run, nor a file of weights"):
        open_scorer("resnet")


@pytest.mark.parametrize("kind", ["efficientnet_lite0", "squeezenet1_1"])
def test_maps_of_published_networks(kind: str, tmp_path: Path) -> None:
    net = write_net(tmp_path / "w.safetensors", kind)
    scorer, images, targets = open_scorer(tmp_path / "w.safetensors"), torch.rand(2, 3, 80, 64), torch.tensor([3, 700])
    bias = net.classifier.bias[targets] if kind == "efficientnet_lite0" else torch.zeros(2)
    with torch.no_grad():
        scores = scorer(images)[[0, 1], targets]
    assert torch.allclose(cam(scorer, images, targets).mean((1, 2)) + bias, scores, rtol=1e-3, atol=1e-4)
    assert torch.equal(grad_cam(scorer, images, targets), grad_cam(scorer, images, targets, "head"))
    layers = dcsm_layers(scorer, images)
    first = "net.backbone.block_7" if kind == "efficientnet_lite0" else "net.backbone.fire4"
    assert layers[0] == first and len(layers) <= 9
    assert dcsm(scorer, images, torch.tensor([[3, 4, 5]] * 2)).shape == (2, 3, 80, 64)


def test_classes_and_pictures_that_do_not_fit() -> None:
    config, _ = Classifier.tiny()
    scorer = SystemScorer(Classifier(config).eval(), "run")
    assert scorer.class_number("2") == 2 and scorer.class_name(2) == "2"
    for word in ("3", "-1", "x", "²"):
        with pytest.raises(UserError, match=f"run: has no class '{word}': it knows the numbers from 0 to 2"):
            scorer.class_number(word)
    assert fit_pictures(scorer, (1, 8, 8)) == ""
    assert fit_pictures(scorer, (3, 8, 8)).startswith("has three channels (colour), and run takes one channel (grey)")
    assert "is 9x8 px, and run takes 8x8" in fit_pictures(scorer, (1, 8, 9))
