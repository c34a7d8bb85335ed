"""Pairs from a benchmark's folder to judged maps: importer, changes, judges; and what each refuses in one line."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import moved_pair, stereo_pair
from PIL import Image
from scipy.ndimage import gaussian_filter

from migaki.changes.flow import Flow
from migaki.changes.parts.same_scene import correlation
from migaki.changes.stereo import Stereo
from migaki.core.change import Change
from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.importers.two_views import TwoViews, read_flo
from migaki.judges.flow import Flow as FlowJudge
from migaki.judges.stereo import Stereo as StereoJudge
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob
from migaki.stages.evaluate import run_judge

Array = np.ndarray[Any, Any]


def save(path: Path, picture: Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(picture * 255).clip(0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stereo pair and a flow pair with truth, laid out as Middlebury's."""
    folder = tmp_path_factory.mktemp("benchmark")
    left, right, disparity = stereo_pair()
    save(folder / "square" / "im2.png", left)
    save(folder / "square" / "im6.png", right)
    save(folder / "square" / "disp2.png", disparity * 4 / 255)
    first, second, flow = moved_pair()
    save(folder / "turning" / "frame10.png", first)
    save(folder / "turning" / "frame11.png", second)
    flow[:, 0, 0] = 1.5e9
    data = b"PIEH" + struct.pack("<ii", 72, 56) + flow.transpose(1, 2, 0).astype("<f4").tobytes()
    (folder / "turning" / "flow10.flo").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def sets(benchmark: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each pair as a set with truth, and as made by its change."""
    out = tmp_path_factory.mktemp("sets")
    changes: dict[str, tuple[str, Change]] = {
        "square": ("stereo", Stereo(Stereo.Config(disparities=16, baseline=0.1, focal=200.0))),
        "turning": ("flow", Flow(Flow.Config(warps=2, rounds=10, radius=2)))}
    found = {}
    for name, (kind, change) in changes.items():
        TwoViews().run(benchmark / name, out / name)
        apply_change(kind, change, ApplyJob(input=out / name, out=out / f"{name}_made"), quiet=True)
        found |= {name: out / name, f"{name}_made": out / f"{name}_made"}
    return found


def test_pairs_are_recognised_and_read_with_their_truth(benchmark: Path, sets: dict[str, Path]) -> None:
    assert "disp2.png" in TwoViews.recognises(benchmark) and TwoViews.recognises(benchmark / "nothing") == ""
    assert [entry.name for entry in TwoViews().find(benchmark)] == ["square", "turning"]
    stereo, flow = ImageFolder(sets["square"]), ImageFolder(sets["turning"])
    assert stereo.plane("disparity", 0).max() == 9 and stereo.read([0], ("right",))["right"].shape == (1, 3, 48, 80)
    assert flow.vectors("flow", 0)[0, 0, 0] > 1e9
    np.testing.assert_allclose(flow.vectors("flow", 0)[:, 9, 9], moved_pair()[2][:, 9, 9])


def test_stereo_is_made_and_judged(sets: dict[str, Path]) -> None:
    made = ImageFolder(sets["square_made"])
    disparity, depth = made.plane("disparity", 0), made.plane("depth", 0)
    assert made.files["disparity"][0].endswith(".tif")  # type: ignore[union-attr]
    np.testing.assert_allclose(depth, 20 / disparity, rtol=1e-5)
    assert 0.5 < made.rows[0]["agreed"] < 1 and made.files["disparity_picture"][0] is not None
    found = run_judge(StereoJudge(StereoJudge.Config(data=sets["square_made"], truth=sets["square"])), quiet=True)
    assert found.figures["bad_seen"] < 4 < 15 < found.baseline["bad_seen"] and found.figures["unknown"] == 0
    assert found.figures["bad_seen"] <= found.figures["bad_all"]
    perfect = run_judge(StereoJudge(StereoJudge.Config(data=sets["square"], truth=sets["square"])), quiet=True)
    assert perfect.figures["bad_all"] == 0 == perfect.figures["mean_error"]


def test_hidden_pixels_may_stay_unknown(sets: dict[str, Path], tmp_path: Path) -> None:
    change = Stereo(Stereo.Config(disparities=16, hidden="zero", right=sets["square"] / "rights" / "square.png"))
    apply_change("stereo", change, ApplyJob(input=sets["square"] / "square.png", out=tmp_path / "o"), quiet=True)
    disparity = ImageFolder(tmp_path / "o").plane("disparity", 0)
    agreed = ImageFolder(tmp_path / "o").rows[0]["agreed"]
    assert (disparity > 0).mean() == pytest.approx(agreed, abs=1e-4) and (disparity[14:34, 26:29] == 0).all()


def test_flow_is_made_and_judged(sets: dict[str, Path]) -> None:
    made = ImageFolder(sets["turning_made"])
    assert made.rows[0]["flow_found"] > 0.8 and made.plane("flow_gap", 0).min() == -1
    assert made.files["flow_picture"][0] is not None
    found = run_judge(FlowJudge(FlowJudge.Config(data=sets["turning_made"], truth=sets["turning"])), quiet=True)
    assert found.figures["aepe"] < 0.35 < 0.6 < found.baseline["aepe"] and found.figures["aae"] < 12
    assert found.figures["num_true"] == 1


def test_frames_of_a_film_follow_each_other(tmp_path: Path) -> None:
    first, second, _ = moved_pair(32, 40)
    for number, picture in enumerate((first, second)):
        save(tmp_path / "film" / f"{number}.png", picture)
    (tmp_path / "film" / "metadata.jsonl").write_text("".join(
        f'{{"file_name": "{number}.png", "clip": "a", "frame": {number}}}\n' for number in (1, 0)))
    change = Flow(Flow.Config(warps=1, rounds=2, check=False))
    apply_change("flow", change, ApplyJob(input=tmp_path / "film", out=tmp_path / "out"), quiet=True)
    made = ImageFolder(tmp_path / "out")
    by_name = {name: file for name, file in zip(made.names, made.files["flow"], strict=True)}
    assert by_name["0.png"] is not None and by_name["1.png"] is None


def refusal(kind: str, change: Change, job: ApplyJob) -> str:
    with pytest.raises(UserError) as caught:
        apply_change(kind, change, job, quiet=True)
    return str(caught.value)


def test_pairs_that_cannot_be_matched(sets: dict[str, Path], tmp_path: Path) -> None:
    left, right, _ = stereo_pair()
    one, job = save(tmp_path / "one.png", left), ApplyJob(input=tmp_path / "one.png", out=tmp_path / "out")
    grey = save(tmp_path / "grey.png", np.full((48, 80, 3), 0.5))
    small = save(tmp_path / "small.png", right[:40])
    other = save(tmp_path / "other.png", np.random.default_rng(5).random((48, 80, 3)))
    config = Stereo.Config()
    for second, said in ((grey, "of one tone"), (small, "has 80 x 48 px, and its right picture 80 x 40"),
                         (other, "they show different things"), (tmp_path / "no.png", "there is no such file")):
        assert said in refusal("stereo", Stereo(replace(config, right=second)), job)
    # Blurred pictures of different things: by chance each finds something like it along a row.
    smooth = [gaussian_filter(np.random.default_rng(seed).random((64, 64, 3)), (4, 4, 0)) for seed in (0, 1)]
    smooth = [(one - one.min()) / np.ptp(one) for one in smooth]
    paths = [save(tmp_path / f"smooth{number}.png", one) for number, one in enumerate(smooth)]
    blurred = ApplyJob(input=paths[0], out=tmp_path / "out3")
    assert "they show different things" in refusal("stereo", Stereo(replace(config, right=paths[1])), blurred)
    assert "has no second pictures: give them by --right" in refusal("stereo", Stereo(config), job)
    assert "or a film's frames" in refusal("flow", Flow(), job)
    assert "of one tone" in refusal("flow", Flow(Flow.Config(next=grey)), job)
    unrelated = save(tmp_path / "unrelated.png", moved_pair(48, 80)[0])
    for strange in (other, unrelated):
        assert "show different things" in refusal("flow", Flow(Flow.Config(next=strange, warps=3)), job)
    still, everywhere = np.zeros((2, 48, 80), np.float32), np.ones((48, 80), bool)
    views = [view.transpose(2, 0, 1) for view in (left, np.random.default_rng(5).random((48, 80, 3)))]
    assert correlation(views[0], views[0], still, everywhere) > 0.99
    assert abs(correlation(views[0], views[1], still, everywhere)) < 0.2
    assert correlation(views[0], views[0], still, ~everywhere) == 0
    no_focal = Stereo(Stereo.Config(disparities=16, baseline=1.0))
    assert "give --focal" in refusal("stereo", no_focal, ApplyJob(input=sets["square"], out=tmp_path / "out2"))
    assert not (tmp_path / "out" / "one.png").exists() and one.exists()


def test_folders_of_pairs_belong_together_by_name(sets: dict[str, Path], tmp_path: Path) -> None:
    left, right, _ = stereo_pair()
    for number in range(2):
        save(tmp_path / "left" / f"{number}.png", left)
        save(tmp_path / "right" / f"{number + 1}.png", right)
    said = refusal("stereo", Stereo(Stereo.Config(right=tmp_path / "right")),
                   ApplyJob(input=tmp_path / "left", out=tmp_path / "out"))
    assert "has no picture named as '0.png'" in said


@pytest.mark.parametrize("build, said", [
    (lambda: Stereo.Config(disparities=1), "--disparities 1: give 2 to 512"),
    (lambda: Stereo.Config(small_step=99), "--small-step is less than"),
    (lambda: Stereo.Config(baseline=-1.0), "must not be negative"),
    (lambda: Flow.Config(weight=0.0), "--weight 0"), (lambda: Flow.Config(warps=0), "at least 1"),
    (lambda: StereoJudge.Config(data=Path("a"), truth=Path("b"), limit=0.0), "--limit 0"),
    (lambda: TwoViews.Config(scale=-1.0), "--scale -1"),
])
def test_options_that_do_not_fit(build: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        build()


@pytest.mark.parametrize("data", [b"", b"PIEH", b"PIEH" + struct.pack("<ii", 2, 2), b"PIEH" + struct.pack("<ii", -1, 9),
                                  b"PIEH" + struct.pack("<ii", 2**30, 2**30), b"JUNK" + bytes(40),
                                  b"PIEH" + struct.pack("<ii", 1, 1) + bytes(9)])
def test_broken_flo_files(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.flo").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.flo: is no \.flo"):
        read_flo(tmp_path / "a.flo")


def test_pairs_with_truth_of_another_size(tmp_path: Path) -> None:
    left, right, disparity = stereo_pair()
    save(tmp_path / "im2.png", left)
    save(tmp_path / "im6.png", right)
    save(tmp_path / "disp2.png", disparity[:9])
    with pytest.raises(UserError, match="belongs to another pair"):
        TwoViews().run(tmp_path, tmp_path.parent / "out")
    save(tmp_path / "im6.png", right[:9])
    with pytest.raises(UserError, match="bring both to one size"):
        TwoViews().run(tmp_path, tmp_path.parent / "out2")
    with pytest.raises(UserError, match="holds no pair with truth"):
        TwoViews().find(tmp_path / "im2.png")


def test_sets_that_cannot_be_judged(sets: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="has no label 'disparity'"):
        run_judge(StereoJudge(StereoJudge.Config(data=sets["turning"], truth=sets["square"])), quiet=True)
    judge = StereoJudge(StereoJudge.Config(data=sets["square"], truth=sets["square"]))
    with pytest.raises(UserError, match="takes no runs"):
        judge.judge([Path("run")], lambda done, total: None)
