"""The weak segmenter finds discs and squares from tags alone, stage by stage, and refuses what it cannot learn."""

from __future__ import annotations

import importlib
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from PIL import Image
from refusals import message
from scene_folders import QUICK, rewrite, rows_of, scenes
from torch import Tensor

from migaki.changes.crf import Crf
from migaki.changes.weak_maps import WeakMaps
from migaki.cli import main
from migaki.core.batch import Batch
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.judges.weak_masks import WeakMasks
from migaki.nets.localiser import RUNGS
from migaki.ops.candidates import Asked, easiness
from migaki.stages.apply import ApplyJob, apply_change
from migaki.stages.evaluate import EvaluateJob, evaluate, run_judge
from migaki.stages.train import train
from migaki.systems import weak_segmenter as module
from migaki.systems.weak_segmenter import WeakSegmenter

CONFIG = WeakSegmenter.Config(steps=150, classifier_share=0.6, rounds=2, batch_size=16, features=6, candidates=2,
                              learning_rate=1e-2, scales=(1.0, 1.5))


def tagged(folder: Path, count: int, seed: int = 0, *, masks: bool = False) -> Path:
    """Scenes with a column `labels`; with or without masks."""
    scenes(folder, count, seed)
    rows = rows_of(folder)
    for row in rows:
        row["labels"] = sorted(set(row.pop("classes")))
        for key in ("boxes", "depth_file_name", *(() if masks else ("mask_file_name",))):
            del row[key]
    said = {"classes": ["disc", "square"], "mask_classes": ["background", "disc", "square"]}
    (folder / "dataset.json").write_text(json.dumps(said))
    return rewrite(folder, rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weak segmenter, with the folders `data` and `test` beside it."""
    root = tmp_path_factory.mktemp("weak")
    tagged(root / "test", 24, seed=5, masks=True)
    data = WeakSegmenter.Data(data=(tagged(root / "data", 80),))
    train(WeakSegmenter, data, CONFIG, QUICK, root / "run", quiet=True)
    return root / "run"


def judged(run: Path, **options: Any) -> dict[str, Any]:
    return run_judge(WeakMasks(WeakMasks.Config(data=run.parent / "test", **options)), [run], quiet=True).figures


def test_it_finds_masks_from_tags_and_each_part_helps(run: Path) -> None:
    figures = evaluate(run, EvaluateJob(data=run.parent / "test"), quiet=True)
    assert figures["classes"] == ["background", "disc", "square"]
    found = run_judge(WeakMasks(WeakMasks.Config(data=run.parent / "test", prior=run.parent / "test")), [run],
                      quiet=True)
    assert found.figures["miou"] > max(0.45, found.figures["prior_miou"] + 0.1, found.baseline["miou"] + 0.15)
    assert found.figures["prior_with_tags_miou"] >= found.figures["prior_miou"]
    maps = {rung: judged(run, rung=rung) for rung in ("gradient", "scales")}
    assert maps["scales"]["miou"] > maps["gradient"]["miou"]
    for one in maps.values():
        assert one["oracle_miou"] + 1e-9 >= max(one["sweep"]) and 0 < one["threshold"] < 1
        assert one["oracle_miou"] > one["miou"] - 0.03  # the sweep is coarse
    assert judged(run, rung="scales", crf=True)["miou"] > maps["scales"]["miou"]
    last = judged(run)
    assert judged(run, tags=True)["classes_right"] == last["classes_right"] <= 1
    assert judged(run, round=1)["miou"] != judged(run, round=2)["miou"] == last["miou"]


def test_soft_masks_are_written_and_refined_and_follow_their_pixels(run: Path, tmp_path: Path) -> None:
    job = ApplyJob(input=run.parent / "data", out=tmp_path / "maps")
    apply_change("weak_maps", WeakMaps(WeakMaps.Config(model=run, rung="scales", tags=True)), job, quiet=True)
    folder = ImageFolder(tmp_path / "maps")
    assert folder.made["mask_classes"] == ["background", "disc", "square"]
    batch = folder.read(range(12), ("image", "soft_masks", "mask", "labels"))
    soft = batch["soft_masks"]
    assert soft.shape == (12, 3, 32, 32)
    torch.testing.assert_close(soft.sum(1), torch.ones(12, 32, 32), atol=1e-4, rtol=0)
    for shares, labels in zip(soft, batch["labels"].tolist(), strict=True):  # none of a class that is no tag
        assert {k for k in (0, 1) if shares[k + 1].any()} == {label for label in labels if label >= 0}
    assert torch.equal(batch["mask"], soft.argmax(1).to(torch.uint8))
    system = load_system(run)
    assert isinstance(system, WeakSegmenter)
    with torch.no_grad():
        asked = system.asked(batch["image"], F.one_hot(batch["labels"] + 1, 3).amax(1)[:, 1:].float())
        expected = asked.spread(system.shares(batch["image"], asked, "scales"), 2)
    torch.testing.assert_close(soft, expected, atol=1e-3, rtol=0)

    crf = Crf(Crf.Config(place=4, colour=0.1, weight=5, near=1, near_weight=2, rounds=5))
    apply_change("crf", crf, ApplyJob(input=tmp_path / "maps", out=tmp_path / "crf"), quiet=True)
    refined = ImageFolder(tmp_path / "crf").read(range(12), ("soft_masks", "mask"))
    assert not torch.allclose(refined["soft_masks"], soft)
    assert torch.equal(refined["mask"], refined["soft_masks"].argmax(1).to(torch.uint8))
    assert main(["apply", "resize", "--width", "16", "--height", "16", "--input", str(tmp_path / "maps"), "--out",
                 str(tmp_path / "small")]) == 0
    small = ImageFolder(tmp_path / "small").read([3], ("soft_masks",))["soft_masks"]
    assert small.shape == (1, 3, 16, 16)
    assert float((small - F.avg_pool2d(soft[3:4], 2)).abs().mean()) < 0.05


def test_soft_masks_that_no_crf_can_refine(tmp_path: Path) -> None:
    folder = scenes(tmp_path / "set", 2)
    (folder / "soft").mkdir()
    rewrite(folder, [{"file_name": row["file_name"], "soft_masks_file_name": f"soft/{place}.tif"}
                     for place, row in enumerate(rows_of(folder))])
    for counts, said in (((1, 1), "one channel"), ((2, 3), "differ in shape")):
        for place, count in enumerate(counts):
            tifffile.imwrite(folder / "soft" / f"{place}.tif", np.full((count, 32, 32), 0.5, np.float32))
        job = ApplyJob(input=folder, out=tmp_path / "out")
        assert said in message(lambda job=job: apply_change("crf", Crf(), job, quiet=True))  # type: ignore[misc]
    for options in ({"colour": 1e-30}, {"near": 0.0}, {"place": 0.0}):
        assert "at least 0.1 px" in message(lambda given=options: Crf.Config(**given))  # type: ignore[misc]


def test_pictures_of_another_size_are_brought_to_the_models(run: Path, tmp_path: Path) -> None:
    large = scenes(tmp_path / "large", 3, side=48)
    rewrite(large, [{key: row[key] for key in ("file_name", "boxes", "classes")} for row in rows_of(large)])
    apply_change("weak_maps", WeakMaps(WeakMaps.Config(model=run)), ApplyJob(input=large, out=tmp_path / "out"),
                 quiet=True)
    folder = ImageFolder(tmp_path / "out")
    batch = folder.read(range(3), ("image", "mask", "boxes"))
    assert batch["image"].shape == (3, 1, 32, 32) and batch["mask"].shape == (3, 32, 32)
    before = ImageFolder(large).read(range(3), ("boxes",))["boxes"]
    torch.testing.assert_close(batch["boxes"], before * 2 / 3, atol=1e-3, rtol=0)


def last_line(capfd: pytest.CaptureFixture[str], arguments: list[str], out: Path | None = None) -> str:
    """The last line that a command says before it ends with 2; `out` must not come to be."""
    capfd.readouterr()
    assert main(arguments) == 2
    said = capfd.readouterr().err
    assert "Traceback" not in said and (out is None or not (out / "dataset.json").exists())
    return said.strip().splitlines()[-1]


def test_bad_input_is_said_in_a_line(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, data = tmp_path / "out", tagged(tmp_path / "tagged", 6)
    train_on = ["train", "weak_segmenter", "--out", str(out), "--device", "cpu", "--data"]
    bare = scenes(tmp_path / "bare", 6, labels=False)
    assert "has no label 'labels'" in last_line(capfd, [*train_on, str(bare)])
    rewrite(data, [row | {"labels": ["disc"]} for row in rows_of(data)])
    (data / "dataset.json").unlink()
    assert "all tags are of one class" in last_line(capfd, [*train_on, str(data)])
    rewrite(data, [row | {"labels": []} for row in rows_of(data)])
    assert "names no class for any image" in last_line(capfd, [*train_on, str(data)])
    good = tagged(tmp_path / "good", 6)
    for words, option in (("is a class as well", ["--background", "disc"]), ("--rounds must be", ["--rounds", "0"]),
                          ("--easy lies", ["--easy", "0"]), ("--candidates must be", ["--candidates", "0"]),
                          ("must be positive", ["--crf-colour", "0"]),
                          ("at least 16x16", ["--height", "8", "--width", "8"])):
        assert words in last_line(capfd, [*train_on, str(good), *option])
    assert not out.exists() or not any(out.iterdir())

    apply_to = ["apply", "weak_maps", "--out", str(out), "--model", str(run), "--input"]
    assert "has no label 'labels'" in last_line(capfd, [*apply_to, str(bare), "--tags"], out)
    colour = tmp_path / "colour"
    colour.mkdir()
    Image.new("RGB", (32, 32)).save(colour / "0.png")
    assert "has 3 channels, and the model takes 1" in last_line(capfd, [*apply_to, str(colour)], out)
    assert "no such folder" in last_line(capfd, [*apply_to[:-2], str(tmp_path / "none"), "--input", str(bare)], out)
    crf = ["apply", "crf", "--out", str(out), "--input", str(bare)]
    assert "has no label 'soft_masks'" in last_line(capfd, crf, out)


def test_masks_that_do_not_fit_are_said_in_a_line(run: Path, tmp_path: Path,
                                                  capfd: pytest.CaptureFixture[str]) -> None:
    data = tagged(tmp_path / "data", 4, masks=True)
    judge = ["evaluate", "weak_masks", str(run), "--out", str(tmp_path / "judged"), "--data", str(data)]
    Image.fromarray(np.zeros((20, 32), np.uint8)).save(data / "masks" / "002.png")
    assert "the mask of '002.png' is 32 x 20 px, the image 32 x 32" in last_line(capfd, judge)
    bare = tagged(tmp_path / "bare", 4)
    assert "has no label 'mask'" in last_line(capfd, [*judge[:-1], str(bare)])
    assert "has 2 rounds" in last_line(capfd, [*judge[:-1], str(run.parent / "test"), "--round", "3"])
    assert not (tmp_path / "judged" / "evaluation.json").exists()


# ------------------------------------------------------------------------------- the parts


def tiny(**changes: Any) -> tuple[WeakSegmenter, Batch]:
    config, batch = WeakSegmenter.tiny()
    torch.manual_seed(1)
    return WeakSegmenter(replace(config, **changes)).eval(), batch


def test_stages_share_the_steps() -> None:
    system, _ = tiny(steps=20, classifier_share=0.5, rounds=3)
    stages = [system.stage(step) for step in range(20)]
    assert [number for number, *_ in stages] == [0] * 10 + [1] * 3 + [2] * 3 + [3] * 4
    assert [place for _, place, _ in stages] == [*range(10), *range(3), *range(3), *range(4)]
    assert [steps for *_, steps in stages] == [10] * 10 + [3] * 6 + [4] * 4


def test_easiness_is_the_mean_overlap_of_pairs_by_loops() -> None:
    draw = torch.Generator().manual_seed(0)
    masks = [torch.randint(0, 3, (2, 5, 6), generator=draw).to(torch.uint8) for _ in range(3)]
    masks[2][0][masks[2][0] == 2] = 0
    found = easiness(masks, 4)
    for row in range(2):
        pairs = []
        for one, other in ((0, 1), (0, 2), (1, 2)):
            a, b = masks[one][row], masks[other][row]
            each = [int(((a == k) & (b == k)).sum()) / int(((a == k) | (b == k)).sum())
                    for k in range(4) if ((a == k) | (b == k)).any()]
            pairs.append(np.mean(each))
        assert float(found[row]) == pytest.approx(float(np.mean(pairs)), abs=1e-6)
    assert easiness([masks[0], masks[0]], 4).tolist() == [1, 1]


def test_candidates_are_the_tags_first_and_masks_hold_class_numbers() -> None:
    system, batch = tiny()
    present = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]])
    asked = system.asked(batch["image"], present)
    assert asked.classes.shape == (4, 3) and int(asked.classes[0, 0]) == 1
    assert asked.counted.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]]
    asked = Asked(torch.tensor([[2, 0]]), torch.ones(1, 2))
    shares = torch.tensor([[0.1, 0.6, 0.3], [0.7, 0.2, 0.1], [0.2, 0.2, 0.6]]).T.view(1, 3, 3, 1)
    assert asked.mask(shares).flatten().tolist() == [3, 0, 1]
    spread = asked.spread(shares, 3)
    assert torch.equal(spread[:, [0, 3, 1]], shares) and not spread[:, 2].any()


def test_maps_of_what_is_not_asked_are_empty_and_rungs_differ() -> None:
    system, batch = tiny()
    present = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]])
    asked = system.asked(batch["image"], present)
    maps = {rung: system.maps(batch["image"], asked, rung) for rung in RUNGS}
    for one in maps.values():
        assert one.shape == (4, 3, 16, 24) and one.min() >= 0 and one.max() <= 1
        assert torch.equal(one.amax((2, 3)) > 0, (asked.counted > 0) & (one.amax((2, 3)) > 0))
        assert not one[2].any()
    for first, other in itertools.pairwise(RUNGS):
        assert not torch.allclose(maps[first], maps[other])
    alone = torch.cat([system.maps(batch["image"][k : k + 1], Asked(*(part[k : k + 1] for part in asked)), "scales")
                       for k in range(4)])
    torch.testing.assert_close(maps["scales"], alone, atol=2e-3, rtol=1e-3)


def test_a_segmenter_reads_within_the_tags() -> None:
    system, batch = tiny()
    asked = Asked(torch.tensor([[1, 0]] * 4), torch.tensor([[1.0, 0]] * 4))
    for factor in (1.0, 0.75):
        shares = system.read(system.nets[0], batch["image"], asked, factor)
        assert shares.shape == (4, 3, 16, 24) and not shares[:, 2].any()
        torch.testing.assert_close(shares.sum(1), torch.ones(4, 16, 24))


def caught(monkeypatch: pytest.MonkeyPatch, system: WeakSegmenter, batch: Batch, step: int) -> tuple[Tensor, str, float,
                                                                                                    list[float]]:
    """The loss, the optimiser, the norm and the rates of the one descent of a step."""
    names = {id(optimizer): name for name, optimizer in system.optimizers.items()}
    found: list[Any] = []

    def noted(loss: Tensor, optimizer: Any, max_norm: float = 0.0) -> Tensor:
        found.append((loss.detach(), names[id(optimizer)], max_norm, [group["lr"] for group in optimizer.param_groups]))
        return torch.zeros(())

    with monkeypatch.context() as patch:
        patch.setattr(importlib.import_module(module.__name__), "descend", noted)
        torch.manual_seed(0)
        system.update(batch, step)
    (one,) = found
    return one


def test_each_stage_descends_its_own_loss_at_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = tiny(steps=40, classifier_share=0.5, augment=False, max_norm=3.7, learning_rate=0.017)
    loss, name, norm, rates = caught(monkeypatch, system, batch, 1)
    scores = system.classifier(batch["image"])[0].double()
    tags = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    p = 1 / (1 + torch.exp(-scores))
    expected = -torch.where(tags == 1, p.log(), (1 - p).log()).mean()
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert (name, norm) == ("classifier", 3.7) and rates == pytest.approx([0.017] * 2)  # the end of the warm-up
    for step, wanted in ((20, ("round_1", 0.017)), (30, ("round_2", 0.017)), (25, ("round_1", None))):
        _, name, norm, rates = caught(monkeypatch, system, batch, step)
        assert name == wanted[0] and norm == 3.7
        assert wanted[1] is None or rates == pytest.approx([wanted[1]] * 2)


def test_twice_the_weight_of_dice_adds_exactly_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, batch = [], WeakSegmenter.tiny()[1]
    for weight in (0.0, 0.61, 1.22):
        system, _ = tiny(steps=40, classifier_share=0.5, augment=False, dice_weight=weight)
        losses.append(float(caught(monkeypatch, system, batch, 22)[0]))
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-3) and losses[1] - losses[0] > 0.1
    system, _ = tiny(steps=40, classifier_share=0.5, augment=False, dice_weight=0.0)
    images, masks = system._easiest(batch, 1)
    assert losses[0] == pytest.approx(float(F.cross_entropy(system.nets[0](images), masks.long()).detach()), rel=1e-4)


def test_the_easiest_of_a_batch_are_learned_and_later_all(monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = tiny(rounds=3, steps=12, easy=0.5)
    masks = torch.arange(4, dtype=torch.uint8)[:, None, None].expand(4, 16, 24)
    monkeypatch.setattr(system, "_kept", lambda *_: {"mask": masks, "easiness": torch.tensor([0.1, 0.9, 0.3, 0.7])})
    for number, wanted in ((1, [1, 3]), (2, [1, 2, 3]), (3, [0, 1, 2, 3])):
        images, learned = system._easiest(batch, number)
        assert learned[:, 0, 0].tolist() == wanted and torch.equal(images, batch["image"][wanted])


def test_a_round_begins_where_the_last_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    system, batch = tiny(steps=40, classifier_share=0.5)
    seen = system.classifier.trunk.state_dict()
    caught(monkeypatch, system, batch, 21)
    assert not torch.equal(system.nets[0].trunk.state_dict()["stages.1.first.weight"], seen["stages.1.first.weight"])
    caught(monkeypatch, system, batch, 20)
    assert torch.equal(system.nets[0].trunk.state_dict()["stages.1.first.weight"], seen["stages.1.first.weight"])
    before = [net.head.weight.detach().clone() for net in system.nets]
    caught(monkeypatch, system, batch, 31)
    assert torch.equal(system.nets[1].head.weight, before[1])
    caught(monkeypatch, system, batch, 30)
    assert torch.equal(system.nets[1].head.weight, before[0]) and torch.equal(system.nets[0].head.weight, before[0])


def test_thresholds_are_chosen_once_without_masks() -> None:
    system, batch = tiny(steps=40, classifier_share=0.5)
    system.choose_thresholds({key: batch[key] for key in ("image", "labels")})
    first = system.thresholds.clone()
    assert ((first > 0) & (first < 1)).all() and len(set(first.tolist())) > 2 and not system.training
    system.choose_thresholds(batch | {"mask": 3 - batch["mask"]})
    assert torch.equal(system.thresholds, first)
