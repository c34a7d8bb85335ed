"""The judge of explanations, on a classifier whose reasons are known; its measures against naive twins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsers import NO_BROWSER, check_fit
from refusals import message
from torch import Tensor, nn
from toy_scorer import ColourScorer, write_squares

from migaki.core.errors import UserError
from migaki.core.judge import Findings
from migaki.judges import explanations as judge
from migaki.judges.explanation_parts import mosaics, read_pictures
from migaki.metrics import explanations as figures
from migaki.ops.shuffled import shuffled, weighted_layers
from migaki.stages.evaluate import judge_into, run_judge

TINY: dict[str, Any] = {"count": 8, "seeds": 2, "mosaics": 4, "sanity_count": 4, "curve_steps": 4, "samples": 2,
                        "steps": 8, "size": 32}


def flat(findings: Findings) -> dict[str, float]:
    """The means by method/measure."""
    return {f"{method}/{name}": figure["mean"] for method, found in findings.figures["methods"].items()
            for name, figure in found.items()}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ColourScorer:
    """The toy in place of every classifier."""
    scorer = ColourScorer()
    monkeypatch.setattr(judge, "open_scorer", lambda what: scorer)
    return scorer


def test_every_method_on_a_classifier_that_is_right_for_known_reasons(toy: ColourScorer, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data")
    found = judge.Explanations(judge.Explanations.Config(model="toy", data=data, **TINY))
    out, findings = judge_into(found, out=tmp_path / "out", quiet=True)
    got = flat(findings)
    methods = findings.record["methods"]
    assert methods[:2] == ["random", "centre"] and len(methods) == 13
    for method in ("cam", "grad_cam", "guided", "gradient_x_input", "integrated_gradients", "occlusion"):
        assert got[f"{method}/pointing"] == 1 and got[f"{method}/grid"] > 0.8, method
        assert got[f"{method}/energy"] > 3 * got["random/energy"], method
        assert got[f"{method}/insertion"] > got[f"{method}/deletion"] + 0.2, method
    assert got["cam/iou"] == got["cam/iou_best"] == 1 and got["cam/energy"] == pytest.approx(1)
    assert got["random/sanity"] < 0.5 < got["centre/sanity"] == 1
    assert got["random/grid"] == pytest.approx(0.25, abs=0.08)
    low, high = findings.figures["methods"]["random"]["energy"]["interval"]
    assert low < got["random/energy"] < high
    assert findings.baseline["cam/pointing"] == max(got["random/pointing"], got["centre/pointing"])
    assert findings.figures["cam/pointing"] == got["cam/pointing"]
    assert (out / "explanations.html").is_file() and (out / "explanations.json").is_file()
    assert run_judge(found, quiet=True).figures == findings.figures
    if not NO_BROWSER:
        check_fit(out / "explanations.html")


def test_a_network_that_learned_random_labels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The network itself gives the same map, one that looks at the ground another; a centre map knows none."""
    true, other, third = ColourScorer(), ColourScorer(), ColourScorer()
    with torch.no_grad():
        other.conv.weight.neg_()
        other.conv.bias.fill_(1.0)  # type: ignore[union-attr]
    third.classes = ("a", "b", "c", "d")
    known = {"toy": true, "same": true, "other": other, "third": third}
    monkeypatch.setattr(judge, "open_scorer", lambda what: known[what])
    data = write_squares(tmp_path / "data")

    def correlation(name: str, method: str = "grad_cam") -> float:
        config = judge.Explanations.Config(model="toy", data=data, measures=("sanity",), methods=(method,),
                                           random_labels=name, **TINY)
        found = flat(run_judge(judge.Explanations(config), quiet=True))
        assert found["centre/sanity_labels"] == 1
        return found[f"{method}/sanity_labels"]

    assert correlation("same") == pytest.approx(1) and correlation("other") < 0
    assert "--random-labels" in message(lambda: correlation("third"))


@pytest.mark.parametrize("measure, better", [("deletion", min), ("insertion", max), ("sanity", min)])
def test_the_better_of_the_free_maps_stands_beside_every_method(measure: str, better: Any, toy: ColourScorer,
                                                                tmp_path: Path) -> None:
    config = judge.Explanations.Config(model="toy", data=write_squares(tmp_path / "data"), methods=("gradient",),
                                       measures=(measure,), **TINY)
    findings = run_judge(judge.Explanations(config), quiet=True)
    name = next(iter(findings.baseline)).split("/")[1]
    got = flat(findings)
    assert findings.baseline == {f"gradient/{name}": better((got[f"random/{name}"], got[f"centre/{name}"]), key=abs)}


def test_a_set_without_masks_serves_the_other_measures(toy: ColourScorer, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data", masks=False)
    config = judge.Explanations.Config(model="toy", data=data, methods=("cam",), **TINY)
    findings = run_judge(judge.Explanations(config), quiet=True)
    assert "cam/grid" in flat(findings) and "cam/pointing" not in flat(findings)
    assert any("has no masks" in note for note in findings.notes)
    config = judge.Explanations.Config(model="toy", data=data, methods=("cam",), measures=("grid", "energy"), **TINY)
    with pytest.raises(UserError, match="has no masks, which energy needs"):
        run_judge(judge.Explanations(config), quiet=True)


def test_a_method_that_does_not_apply_is_left_out_unless_it_was_asked_for(monkeypatch: pytest.MonkeyPatch,
                                                                          tmp_path: Path) -> None:
    class Smooth(ColourScorer):
        def forward(self, images: Tensor) -> Tensor:
            scores: Tensor = self.head(nn.functional.softplus(100 * self.conv(images)).mean((2, 3)) / 100)
            return scores

    monkeypatch.setattr(judge, "open_scorer", lambda what: Smooth())
    data = write_squares(tmp_path / "data")
    findings = run_judge(judge.Explanations(judge.Explanations.Config(
        model="toy", data=data, measures=("pointing",), **TINY)), quiet=True)
    assert "guided/pointing" not in flat(findings) and "gradient/pointing" in flat(findings)
    assert any("Left out: guided" in note for note in findings.notes)
    with pytest.raises(UserError, match="toy: has the activation softplus"):
        run_judge(judge.Explanations(judge.Explanations.Config(
            model="toy", data=data, methods=("guided",), measures=("pointing",), **TINY)), quiet=True)


def test_the_grid_is_left_out_where_the_set_does_not_allow_it(toy: ColourScorer, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data")
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    kept = [row for row in rows if row["label"] != rows[0]["label"]]
    for row in rows:
        if row not in kept:
            (data / row["file_name"]).unlink()
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    findings = run_judge(judge.Explanations(judge.Explanations.Config(
        model="toy", data=data, methods=("gradient",), **TINY)), quiet=True)
    assert "gradient/energy" in flat(findings) and "gradient/grid" not in flat(findings)
    assert any("the grid was not measured" in note for note in findings.notes)


@pytest.mark.parametrize("options, message", [
    ({"methods": ("magic",)}, "--methods magic: give some of"), ({"measures": ("beauty",)}, "--measures beauty"),
    ({"count": 3}, "--count"), ({"seeds": 0}, "--seeds"), ({"size": 16}, "--size"), ({"noise": -1.0}, "--noise")])
def test_options_that_make_no_sense(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        judge.Explanations.Config(model="toy", data=tmp_path, **options)


def test_sets_that_do_not_fit(toy: ColourScorer, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data", kind="violet", wrong=3)
    for label, words in (("kind", "has no label 'kind'|cannot be used"), ("wrong", "reads 3 of 12")):
        config = judge.Explanations.Config(model="toy", data=data, label=label, **TINY)
        with pytest.raises(UserError, match=words):
            run_judge(judge.Explanations(config), quiet=True)


# ------------------------------------------------------------------------------------------ the measures


def test_pointing_against_a_loop() -> None:
    maps = torch.rand(20, 9, 7, generator=torch.Generator().manual_seed(0))
    masks = torch.rand(20, 9, 7, generator=torch.Generator().manual_seed(1)) < 0.1
    for tolerance in (0, 2):
        for row, found in enumerate(figures.pointing(maps, masks, tolerance).tolist()):
            y, x = divmod(int(maps[row].argmax()), 7)
            near = [masks[row, j, i] for j in range(9) for i in range(7)
                    if abs(j - y) <= tolerance and abs(i - x) <= tolerance]
            assert found == float(any(near))
    half = torch.zeros(1, 2, 2)
    assert figures.pointing(half, torch.tensor([[[True, False], [False, False]]])).item() == 0.25


def test_energy_and_overlap_by_hand() -> None:
    maps = torch.tensor([[[4.0, 2.0], [1.0, -9.0]]])
    masks = torch.tensor([[[True, False], [True, False]]])
    assert figures.energy(maps, masks).item() == pytest.approx(5 / 7)
    assert figures.overlaps(maps, masks, (0.2, 0.5, 0.9))[0].tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 2])
    nothing = torch.full((1, 2, 2), -1.0)
    assert figures.energy(nothing, masks).item() == 0.5 and figures.overlaps(nothing, masks, (0.5,)).item() == 0.5


def test_quadrants_and_mosaics() -> None:
    images = torch.arange(4.0)[:, None, None, None].expand(4, 3, 2, 5)
    whole = figures.mosaic(images)
    assert whole.shape == (3, 4, 10)
    for place, mask in enumerate(figures.quadrant_masks(4, 10)):
        assert (whole[0][mask] == place).all() and mask.sum() == 10


def test_mosaics_hold_four_classes_and_the_asked_one_in_its_place(tmp_path: Path) -> None:
    scorer = ColourScorer((3, 32, 32))
    pictures = read_pictures(scorer, write_squares(tmp_path / "data"), 32, "label", 12)
    images, targets, places = mosaics(scorer, pictures, 10, 0)
    assert images.shape == (10, 3, 32, 32) and set(places.tolist()) <= {0, 1, 2, 3}
    masks = figures.quadrant_masks(32, 32)
    for image, target, place in zip(images, targets.tolist(), places.tolist(), strict=True):
        best = [int(scorer((image * mask)[None]).argmax()) for mask in masks]
        assert sorted(best) == [0, 1, 2, 3] and best[place] == target
    assert not torch.equal(images, mosaics(scorer, pictures, 10, 1)[0])


class Bright(nn.Module):
    """Two classes; the first one's score is the mean brightness."""

    def forward(self, images: Tensor) -> Tensor:
        mean = 4 * images.mean((1, 2, 3))
        return torch.stack([mean, torch.zeros_like(mean)], 1)


def test_insertion_and_deletion_against_a_loop() -> None:
    from migaki.ops.filtering import gaussian_blur

    model, images = Bright().eval(), torch.rand(2, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    maps, targets = images[:, 0], torch.tensor([0, 1])
    inserted, deleted = figures.score_curves(model, images, targets, maps, steps=4)
    for row in range(2):
        blurred, order = gaussian_blur(images[row : row + 1], 0.75), maps[row].flatten().argsort(descending=True)
        for step in range(5):
            chosen = order[: step * 12]
            both = [blurred.clone().flatten(), images[row].clone().flatten()]
            both[0][chosen] = images[row].flatten()[chosen]
            both[1][chosen] = images[row].mean()
            for curve, picture in zip((inserted, deleted), both, strict=True):
                share = torch.softmax(model(picture.view(1, 1, 6, 8)), 1)[0, targets[row]]
                assert curve[row, step].item() == pytest.approx(share.item(), abs=1e-5)
    assert figures.area(torch.tensor([[0.0, 1.0, 1.0]])).item() == 0.75


def test_rank_correlation_and_similarity() -> None:
    maps = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(0))
    assert figures.rank_correlation(maps, 3 * maps.square()).tolist() == pytest.approx([1, 1])
    assert figures.rank_correlation(maps, -maps).tolist() == pytest.approx([1, 1])  # of absolute values
    assert figures.rank_correlation(maps, 1 - maps).tolist() == pytest.approx([-1, -1])
    assert figures.rank_correlation(maps, torch.zeros_like(maps)).tolist() == [0, 0]
    assert figures.similarity(maps, 5 * maps).tolist() == pytest.approx([1, 1])
    assert figures.similarity(maps, 1 - maps).max() < 0


def test_the_bootstrap_covers_the_mean_of_chance() -> None:
    draw, hits = np.random.default_rng(0), 0
    for turn in range(100):
        mean, low, high = figures.bootstrap(torch.from_numpy(draw.normal(0.3, 1, (1, 40))), draws=200, seed=turn)
        assert low < mean < high
        hits += low < 0.3 < high
    assert 85 <= hits <= 100
    assert figures.bootstrap(torch.full((2, 5), 0.5)) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="at least one"):
        figures.bootstrap(torch.zeros(1, 0))


def test_shuffled_layers_keep_their_weights_in_another_order() -> None:
    model, images = ColourScorer(), torch.rand(1, 3, 8, 8)
    assert weighted_layers(model, images) == ["conv", "head"]
    made = shuffled(model, ["head"], 0)
    assert torch.equal(made.get_parameter("conv.weight"), model.conv.weight)
    own, other = model.head.weight.flatten(), made.get_parameter("head.weight").flatten()
    assert torch.equal(own.sort().values, other.sort().values) and not torch.equal(own, other)
    assert torch.equal(other, shuffled(model, ["head"], 0).get_parameter("head.weight").flatten())
    assert not torch.equal(other, shuffled(model, ["head"], 1).get_parameter("head.weight").flatten())
