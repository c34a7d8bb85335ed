"""Classifiers as functions to scores: runs of one class and of several, published files, what is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from published_files import write_net

from migaki.core.errors import UserError
from migaki.nets.scorer import SystemScorer, fit_pictures, open_scorer
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


def test_published_files(tmp_path: Path) -> None:
    write_net(tmp_path / "w.safetensors", "squeezenet1_1")
    scorer = open_scorer(tmp_path / "w.safetensors")
    assert scorer.shape == (3, 0, 0) and scorer(torch.rand(1, 3, 40, 50)).shape == (1, 1000)
    assert scorer.class_number("pizza") == scorer.class_number("963") == 963 and scorer.class_name(963) == "pizza"
    write_net(tmp_path / "f.safetensors", "squeezenet1_1", with_head=False)
    with pytest.raises(UserError, match="holds the features of squeezenet1_1 and not its last layer"):
        open_scorer(tmp_path / "f.safetensors")
    with pytest.raises(UserError, match="neither a run, nor a file of weights"):
        open_scorer("resnet")


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
