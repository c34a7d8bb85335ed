"""Photographs of a rendered corner to a posed set, judged against the cameras that rendered them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import cameras, corner, texture
from PIL import Image

from migaki.core.errors import UserError
from migaki.importers.poses import Poses, exif_focal
from migaki.judges.poses import Poses as PosesJudge
from migaki.ops.geometry.colmap import _read
from migaki.stages.evaluate import run_judge

pytest.importorskip("cv2", reason="extra migaki[poses]")

Array = np.ndarray[Any, Any]

HEIGHT, WIDTH, FOCAL = 96, 128, 120.0


def write(folder: Path, pictures: Array, poses: Array | None = None) -> Path:
    folder.mkdir(parents=True)
    rows = []
    for number, picture in enumerate(pictures):
        Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(folder / f"{number}.png")
        rows.append({"file_name": f"{number}.png"} | ({} if poses is None else {
            "camera_to_world": poses[number].tolist(), "intrinsics": [FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2]}))
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Five photographs and one of something else, with and without their cameras; the poses found."""
    folder = tmp_path_factory.mktemp("captures")
    poses = cameras(5, 7.0)
    pictures, _ = corner(poses, np.array([FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2]), HEIGHT, WIDTH)
    found = {"truth": write(folder / "truth", pictures, poses), "out": folder / "out",
             "photos": write(folder / "photos", np.concatenate([pictures, texture(HEIGHT, WIDTH, 99)[None]]))}
    Poses(Poses.Config(focal=FOCAL, refine=False)).run(found["photos"], found["out"])
    return found


def test_poses_are_found(captures: dict[str, Path]) -> None:
    found = run_judge(PosesJudge(PosesJudge.Config(data=captures["out"], truth=captures["truth"])), quiet=True)
    assert found.figures["posed"] == 1 and found.figures["worst_rotation_deg"] < 0.5
    assert found.figures["worst_centre_percent"] < 2 < found.baseline["centre_percent"]
    assert found.baseline["rotation_deg"] > 5 * found.figures["rotation_deg"]


def test_the_set_says_its_scene_and_the_lens(captures: dict[str, Path]) -> None:
    rows = [json.loads(line) for line in (captures["out"] / "metadata.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in rows] == [f"{k}.png" for k in range(5)] and rows[0]["split"] == "test"
    assert rows[1]["intrinsics"] == [120, 120, 64, 48]
    scene = json.loads((captures["out"] / "dataset.json").read_text())["scene"]
    poses = np.array([row["camera_to_world"] for row in rows])
    assert 0 < scene["near"] < scene["far"]
    assert np.median(np.linalg.norm(poses[:, :, 3], axis=1)) == pytest.approx(4, 0.1)
    assert poses[:, :, 1].mean(0)[2] < -0.5  # down in the pictures is down in the world


def test_what_is_left_out_is_said(captures: dict[str, Path]) -> None:
    importer = Poses(Poses.Config(focal=FOCAL, refine=False))
    importer.find(captures["photos"])
    said = importer.announcements()
    assert "5 of 6 pictures have a pose" in said[0]
    assert any("5.png: left out: no other picture shows the same place" in line for line in said)


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        Poses(Poses.Config(**options)).find(folder)
    return str(caught.value)


def test_captures_without_poses(tmp_path: Path) -> None:
    some = np.stack([texture(HEIGHT, WIDTH, seed) for seed in (1, 2, 3)])
    assert "has 1 picture, and poses need 2 to 500" in refusal(write(tmp_path / "one", some[:1]))
    assert "no other picture shows the same place" in refusal(write(tmp_path / "strangers", some))
    assert "has 0 distinct points: it is flat" in refusal(write(tmp_path / "flat", np.full((2, 40, 50, 3), 0.5)))
    assert "move the camera sideways" in refusal(write(tmp_path / "same", some[[0, 0]]))
    mixed = write(tmp_path / "mixed", some)
    Image.new("RGB", (50, 40)).save(mixed / "2.png")
    assert "2.png: is 50 x 40 px, and the first picture 128 x 96" in refusal(mixed)
    with pytest.raises(UserError, match="--least 2: give a number of at least 8"):
        Poses.Config(least=2)


def test_focal_length_of_exif(tmp_path: Path) -> None:
    picture, exif = Image.new("RGB", (60, 40)), Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    picture.save(tmp_path / "a.jpg", exif=exif)
    picture.save(tmp_path / "b.jpg")
    assert exif_focal(tmp_path / "a.jpg", 3600) == pytest.approx(2800)
    assert exif_focal(tmp_path / "b.jpg", 3600) == 0 == exif_focal(tmp_path / "none.jpg", 3600)


def test_sets_whose_poses_cannot_be_judged(captures: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="has no label 'camera_to_world'"):
        run_judge(PosesJudge(PosesJudge.Config(data=captures["photos"], truth=captures["truth"])), quiet=True)


def test_what_is_not_installed_is_named(captures: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs OpenCV: pip install 'migaki[poses]'" in refusal(captures["photos"])
    assert "needs pycolmap: pip install 'migaki[colmap]'" in refusal(captures["photos"], solver="colmap")


def test_a_reconstruction_of_colmap_is_read() -> None:
    """What pycolmap calls its parts, on stand-ins: the package itself is an extra."""
    from types import SimpleNamespace as Thing

    turned = Thing(rotation=Thing(matrix=lambda: np.eye(3)), translation=np.array([1.0, 2.0, 3.0]))
    point = Thing(xyz=np.array([4.0, 5.0, 6.0]), track=Thing(length=lambda: 3))
    camera = Thing(params=[100.0, 64.0, 48.0, 0.1], model_name="SIMPLE_RADIAL", mean_focal_length=lambda: 100.0)
    image = Thing(name="000001.png", cam_from_world=lambda: turned)
    model = Thing(reg_image_ids=lambda: [7], image=lambda number: image,
                  cameras={1: camera}, points3D={3: point}, compute_mean_reprojection_error=lambda: 0.5)
    found = _read(model, 2, (96, 128))
    assert list(found.poses) == [1] and found.poses[1][1].tolist() == [1, 2, 3] and list(found.left_out) == [0]
    assert found.lens.tolist() == [100, 0.1] and found.points.tolist() == [[4, 5, 6]] and found.seen_by.tolist() == [3]
