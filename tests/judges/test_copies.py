"""Finding copies: the ranking against a loop, comparable scores, and the judge on sets whose answer is known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import message

from migaki.core.batch import Batch
from migaki.core.fit import Run, fit
from migaki.judges.copies import Copies
from migaki.metrics.copies import less_rivals, normalised_scores, rank_copies, rank_found
from migaki.stages.evaluate import judge_into, run_judge
from migaki.stages.train import train
from migaki.systems.copy_detector import CopyDetector
from migaki.systems.simclr import SimCLR


def twin(scores: np.ndarray, truth: list[int]) -> float:
    """Average precision by a loop over all pairs, the best score first."""
    pairs = sorted(((scores[q, r], truth[q] == r) for q in range(scores.shape[0]) for r in range(scores.shape[1])),
                   key=lambda pair: -pair[0])
    right, total = 0, 0.0
    for taken, (_, is_right) in enumerate(pairs, 1):
        if is_right:
            right += 1
            total += right / taken
    return total / sum(place >= 0 for place in truth)


@pytest.mark.parametrize("seed", range(4))
def test_the_ranking_against_a_loop(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, truth = random.normal(size=(9, 6)), [0, 3, -1, 5, 2, -1, -1, 1, 4]
    for row, place in enumerate(truth):
        scores[row, max(0, place)] += 1.5 * (place >= 0)
    found = rank_copies(torch.from_numpy(scores), torch.tensor(truth))
    assert found.micro_ap == pytest.approx(twin(scores, truth))
    assert found.first == pytest.approx(np.mean([scores[q].argmax() == r for q, r in enumerate(truth) if r >= 0]))


def test_recall_where_nine_of_ten_are_right() -> None:
    """Ten right pairs and one wrong one above the last of them: the precision there is 10 / 11."""
    scores = torch.full((11, 11), -1.0)
    for k in range(11):
        scores[k, k] = 1 - k / 20
    truth = torch.arange(11)
    truth[9] = -1  # its best match is wrong
    found = rank_copies(scores, truth)
    assert found.recall == 1 and found.threshold == pytest.approx(0.5)
    truth[0] = -1  # and the very first: 9 of 11
    assert rank_copies(scores, truth).recall < 1


def test_pairs_of_equal_score_count_as_one_step() -> None:
    same = torch.zeros(4, 5)
    assert rank_copies(same, torch.tensor([0, 1, 2, -1])).micro_ap == pytest.approx(3 / 20)


def test_what_is_like_everything_is_no_evidence() -> None:
    """A grey query is close to all references; its likeness to the background is taken off, and the true pair leads."""
    queries = torch.tensor([[1.0, 1, 1], [0.2, 1, -0.2]])
    references = torch.tensor([[1.0, 0.9, 1], [0.0, 1, 0]])
    background = torch.tensor([[1.0, 1, 0.9], [0.9, 1, 1], [1, 0.9, 1]])
    truth = torch.tensor([-1, 1])
    assert rank_copies(normalised_scores(queries, references), truth).micro_ap == pytest.approx(1 / 2)
    assert rank_copies(normalised_scores(queries, references, background), truth).micro_ap == 1


def test_a_query_that_is_like_many_is_no_copy_of_one() -> None:
    scores = torch.tensor([[0.9, 0.88, 0.86, 0.84], [0.1, 0.8, 0.2, 0.3]])
    found = less_rivals(scores, 2)
    torch.testing.assert_close(found, scores - torch.tensor([[0.87], [0.25]]))
    truth = torch.tensor([-1, 1])
    assert rank_copies(scores, truth).micro_ap == pytest.approx(1 / 5) and rank_copies(found, truth).micro_ap == 1
    torch.testing.assert_close(less_rivals(scores, 0), scores)
    torch.testing.assert_close(less_rivals(scores, 99), less_rivals(scores, 3))


def test_pairs_that_nobody_looked_at_are_not_found() -> None:
    random = np.random.default_rng(0)
    scores, truth = torch.from_numpy(random.normal(size=(8, 5))), torch.tensor([0, 1, 2, 3, 4, -1, -1, -1])
    is_pair = torch.arange(5)[None] == truth[:, None]
    whole, some = rank_copies(scores, truth), rank_found(scores, is_pair, 5)
    assert some == whole
    seen = scores.masked_fill(torch.arange(8)[:, None] == 2, -torch.inf)  # nothing of the third query
    assert rank_found(seen, is_pair, 5).first <= whole.first and rank_found(seen, is_pair, 5).micro_ap <= 0.8


def write(folder: Path, pictures: list[np.ndarray], rows: Sequence[Mapping[str, object]]) -> Path:
    folder.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number}.png")
    (folder / "metadata.jsonl").write_text("".join(
        json.dumps({"file_name": f"{number}.png", **row}) + "\n" for number, row in enumerate(rows)))
    return folder


def test_thumbnails_find_what_was_darkened_and_not_what_was_mirrored(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pictures = [np.asarray(Image.fromarray(random.integers(0, 256, (6, 6), np.uint8)).resize((48, 48)))
                for _ in range(12)]
    references = write(tmp_path / "references", pictures[:8], [{} for _ in range(8)])
    altered = [(picture * 0.6).astype(np.uint8) for picture in pictures[:4]]
    altered += [picture[:, ::-1].copy() for picture in pictures[4:8]]
    queries = write(tmp_path / "queries", altered + pictures[8:], [
        {"reference": f"{k}.png", "operators": ["dark" if k < 4 else "mirror"]} for k in range(8)] + [
        {"reference": None, "operators": []} for _ in range(4)])
    found = run_judge(Copies(Copies.Config(references=references, data=queries, device="cpu")), quiet=True)
    rows = {str(row[0]): row[2:] for row in found.sections[1].rows}
    assert rows["dark"][0] == pytest.approx(1) and float(rows["mirror"][0] or 0) < 0.5
    # What stands beside the figures is the best of what needs no training.
    best = max(float(row[2] or 0) for row in found.sections[0].rows)
    assert found.figures["micro_ap"] == found.baseline["micro_ap"] == best
    assert found.baseline_name in {row[0] for row in found.sections[0].rows}


def test_an_operator_that_only_strangers_have_is_no_failure(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, (16, 16), np.uint8) for _ in range(4)]
    references = write(tmp_path / "references", pictures[:3], [{}] * 3)
    queries = write(tmp_path / "queries", [pictures[0], pictures[1], pictures[3]], [
        {"reference": "0.png", "operators": ["crop"]}, {"reference": "1.png", "operators": ["crop", "flip"]},
        {"reference": None, "operators": ["aspect"]}])
    found = run_judge(Copies(Copies.Config(references=references, data=queries, device="cpu")), quiet=True)
    assert "micro_ap_aspect" not in found.figures and [row[:2] for row in found.sections[1].rows] == [
        ["crop", 2], ["flip", 1]]


def test_a_run_that_is_named_twice_is_judged_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, batch = CopyDetector.tiny()

    class Same:
        def batch(self, step: int) -> Batch:
            return batch

    fit(CopyDetector(config), Same(), Run(device="cpu", precision="fp32", sample_every=0), tmp_path / "run", quiet=True)
    random = np.random.default_rng(2)
    pictures = [random.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(5)]
    references = write(tmp_path / "references", pictures, [{}] * 5)
    queries = write(tmp_path / "queries", pictures[:2], [{"reference": f"{k}.png"} for k in range(2)])
    judge = Copies(Copies.Config(references=references, data=queries, device="cpu"))
    once, twice = (run_judge(judge, [tmp_path / "run"] * count, quiet=True) for count in (1, 2))
    assert twice.figures == once.figures
    assert "run: is named several times and judged once" in capsys.readouterr().err
    assert twice.sections[0].rows == once.sections[0].rows and len(once.sections[0].rows) == 5
    assert next(iter(twice.figures["without_training"])) == "the network untrained"


def test_what_the_weights_of_the_start_knew_is_no_gain(tmp_path: Path) -> None:
    """A detector that learned nothing on frozen weights is as good as it began, and not as random weights are."""
    random = np.random.default_rng(3)
    pictures = [np.asarray(Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8)).resize((24, 24)))
                for _ in range(8)]
    references = write(tmp_path / "references", pictures, [{}] * 8)
    queries = write(tmp_path / "queries", [picture[:, ::-1].copy() for picture in pictures[:4]], [
        {"reference": f"{k}.png"} for k in range(4)])
    quick = Run(device="cpu", precision="fp32", sample_every=0)
    encoder = SimCLR.Config(steps=1, batch_size=4, features=8, inside=8, projected=6)
    train(SimCLR, SimCLR.Data(data=(references,)), encoder, quick, tmp_path / "simclr", quiet=True)
    config = CopyDetector.Config(steps=1, batch_size=4, size=8, backbone_rate=0.0, learning_rate=0.0)
    train(CopyDetector, CopyDetector.Data(data=(references,), pretrained=tmp_path / "simclr"), config, quick,
          tmp_path / "run", quiet=True)
    judge = Copies(Copies.Config(references=references, data=queries, device="cpu"))
    found = run_judge(judge, [tmp_path / "run"], quiet=True)
    free = found.figures["without_training"]
    begun, drawn = (free[f"the network {name}"] for name in ("as it began, with its weights", "with random weights"))
    assert {key: found.figures[key] for key in begun} == begun != drawn
    train(CopyDetector, CopyDetector.Data(data=(references,)), replace(config, backbone_rate=1.0), quick,
          tmp_path / "other", quiet=True)
    both = run_judge(judge, [tmp_path / "other", tmp_path / "run"], quiet=True)  # the first one began at random
    assert both.figures["without_training"]["the network as it began, with its weights"] == begun
    (tmp_path / "simclr" / "model.safetensors").unlink()
    found = run_judge(judge, [tmp_path / "run"], quiet=True)
    assert [row[0] for row in found.sections[0].rows][:2] == [str(tmp_path / "run"), "the network with random weights"]
    assert "simclr: has changed since" in found.notes[-1]
    shutil.rmtree(tmp_path / "simclr")
    assert "simclr: there is no" in run_judge(judge, [tmp_path / "run"], quiet=True).notes[-1]


def test_a_precision_that_is_never_reached_has_no_threshold(tmp_path: Path) -> None:
    flat = [np.full((16, 16), 128, np.uint8)] * 3  # all alike, so that two of three pairs are wrong
    references, queries = write(tmp_path / "references", flat, [{}] * 3), write(
        tmp_path / "queries", flat[:1], [{"reference": "2.png"}])
    _, found = judge_into(Copies(Copies.Config(references=references, data=queries, device="cpu")),
                          out=tmp_path / "out", quiet=True)
    assert found.figures["threshold"] is None and all(row[4] is None for row in found.sections[0].rows)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads((tmp_path / "out" / "copies.json").read_text(), parse_constant=refuse)
    assert ">inf<" not in (tmp_path / "out" / "copies.html").read_text()


def test_queries_that_say_nothing(tmp_path: Path) -> None:
    plain = [np.zeros((8, 8), np.uint8)]
    references = write(tmp_path / "references", plain, [{}])
    for number, (rows, word) in enumerate((([{}], "no column 'reference'"), ([{"reference": "9.png"}], "9.png"),
                                           ([{"reference": None}], "no query has an original"))):
        queries = write(tmp_path / f"queries{number}", plain, rows)  # type: ignore[arg-type]
        judge = Copies(Copies.Config(references=references, data=queries))
        assert word in message(partial(run_judge, judge, quiet=True))


def test_operators_are_words_and_originals_are_names(tmp_path: Path) -> None:
    """One word is one operator, not one for each of its letters; a blank is no original."""
    def saved(name: str, rows: list[dict[str, object]]) -> Path:
        (tmp_path / name).mkdir()
        random = np.random.default_rng(0)
        for number in range(len(rows)):
            Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / name / f"{number}.png")
        (tmp_path / name / "metadata.jsonl").write_text("".join(
            json.dumps({"file_name": f"{number}.png", **row}) + "\n" for number, row in enumerate(rows)))
        return tmp_path / name

    originals = saved("originals", [{}, {}, {}])

    def figures(name: str, *rows: dict[str, object]) -> set[str]:
        judge = Copies(Copies.Config(references=originals, data=saved(name, list(rows)), device="cpu"))
        return {key for key in run_judge(judge, quiet=True).figures if key.startswith("micro_ap_")}

    good: dict[str, object] = {"reference": "0.png", "operators": "crop"}
    assert figures("a", good, {"reference": " ", "operators": None}) == {"micro_ap_plain", "micro_ap_crop"}
    assert "'operators' of 1.png is no list of words" in message(lambda: figures("b", good, good | {"operators": [3]}))
    assert "'reference' of 1.png is no file name" in message(lambda: figures("c", good, good | {"reference": [""]}))
