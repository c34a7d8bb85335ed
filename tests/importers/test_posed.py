"""Captures in the layouts of others: one capture written in each of them comes in with the same cameras."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.writers.cameras import write_colmap, write_transforms
from migaki.importers.colmap import Colmap
from migaki.importers.importer import Importer
from migaki.importers.llff import LLFF
from migaki.importers.middlebury_views import MiddleburyViews
from migaki.importers.posed import View, empty_before
from migaki.importers.seven_scenes import SevenScenes
from migaki.importers.sniff import recognise
from migaki.importers.transforms import Transforms
from migaki.ops.camera import distort, ring
from migaki.ops.camera_poses import rotation_errors, to_axes

COUNT, HEIGHT, WIDTH = 6, 24, 32
POSES = ring(COUNT, 4.0, 25.0, (0.2, 0.1, 0.3)).numpy().astype(np.float64)
LENS = np.array([40.0, 42.0, 16.5, 11.5])


def picture(path: Path, number: int, mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """A picture with edges, another for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], len(mode)), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze(), mode).save(path)
    return path


def matrix(pose: Any) -> list[list[float]]:
    return [*np.asarray(pose).tolist(), [0.0, 0.0, 0.0, 1.0]]


def transforms(root: Path, **more: Any) -> Path:
    """instant-ngp's form: intrinsics for the whole file."""
    frames = []
    for number, pose in enumerate(to_axes(POSES, "opengl").astype(np.float64)):
        picture(root / "images" / f"{number}.png", number)
        frames.append({"file_path": f"images/{number}.png", "transform_matrix": matrix(pose)})
    values = {"fl_x": LENS[0], "fl_y": LENS[1], "cx": LENS[2], "cy": LENS[3], "w": WIDTH, "h": HEIGHT, "frames": frames}
    (root / "transforms.json").write_text(json.dumps({**values, **more}))
    return root


def colmap(root: Path) -> Path:
    from migaki.ops.camera_poses import matrix_to_quaternion

    model = root / "sparse" / "0"
    model.mkdir(parents=True)
    lens = " ".join(map(str, LENS))
    lines = ["# comment", *(f"{number} OPENCV {WIDTH} {HEIGHT} {lens} 0 0 0 0" for number in (1, 2))]
    (model / "cameras.txt").write_text("\n".join(lines) + "\n")
    text = "# two lines an image\n"
    for number, pose in enumerate(POSES):
        turned = pose[:, :3].T
        values = [*(3 * matrix_to_quaternion(turned)), *(-turned @ pose[:, 3])]
        picture(root / "images" / f"{number}.png", number)
        points = "" if number % 2 else "1.5 2.5 -1 3 4 1"
        text += f"{number + 1} {' '.join(map(str, values))} {1 + number % 2} {number}.png\n{points}\n"
    (model / "images.txt").write_text(text)
    cloud = np.random.default_rng(0).uniform(-0.5, 0.5, (200, 3)) + np.array([0.2, 0.1, 0.3])
    points = "".join(f"{number} {x} {y} {z} 1 2 3 0.5 1 1\n" for number, (x, y, z) in enumerate(cloud))
    (model / "points3D.txt").write_text(points)
    return root


def llff(root: Path) -> Path:
    rows = []
    for number, pose in enumerate(to_axes(POSES, "llff").astype(np.float64)):
        picture(root / "images" / f"{number}.png", number)
        full = np.concatenate([pose, [[HEIGHT], [WIDTH], [LENS[0]]]], 1)
        rows.append([*full.ravel(), 2.5, 5.5])
    np.save(root / "poses_bounds.npy", np.array(rows))
    return root


def middlebury(root: Path) -> Path:
    lens = f"{LENS[0]} 0 {LENS[2]} 0 {LENS[1]} {LENS[3]} 0 0 1"
    lines = [str(COUNT)]
    for number, pose in enumerate(POSES):
        picture(root / f"{number}.png", number)
        turned = pose[:, :3].T
        values = [*turned.ravel(), *(-turned @ pose[:, 3])]
        lines.append(f"{number}.png {lens} {' '.join(map(str, values))}")
    (root / "toy_par.txt").write_text("\n".join(lines) + "\n")
    (root / "README.txt").write_text("The (tight) bounding box is\n(-0.3 -0.4 -0.2)\n(0.7 0.6 0.8)\n")
    return root


def seven(root: Path) -> Path:
    for number, pose in enumerate(POSES):
        stem = f"frame-{number:06d}"
        picture(root / f"{stem}.color.png", number)
        depth = np.full((HEIGHT, WIDTH), 4000, np.uint16)
        depth[0, :2] = 0, 65535
        Image.fromarray(depth).save(root / f"{stem}.depth.png")
        np.savetxt(root / f"{stem}.pose.txt", np.array(matrix(pose)))
    np.savetxt(root / "camera-intrinsics.txt", np.array([[800.0, 0, 330], [0, 840, 230], [0, 0, 1]]))
    return root


LAYOUTS: dict[str, tuple[Callable[[], Importer], Callable[..., Path]]] = {
    "transforms": (Transforms, transforms), "colmap": (Colmap, colmap), "llff": (LLFF, llff),
    "middlebury_views": (MiddleburyViews, middlebury), "seven_scenes": (SevenScenes, seven)}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("captures")
    for name in LAYOUTS:
        (root / name).mkdir()
    return {name: build(root / name) for name, (_, build) in LAYOUTS.items()}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_cameras(name: str, sets: dict[str, Path]) -> None:
    importer = LAYOUTS[name][0]()
    views: list[View] = list(importer.find(sets[name]))
    assert [own for own, _ in recognise(sets[name])] == [name]
    assert [view.split for view in views] == ["test", *["train"] * 5]
    poses = np.stack([view.camera_to_world for view in views])
    assert rotation_errors(poses, POSES).max() < 1e-4 and np.abs(poses[:, :, 3] - POSES[:, :, 3]).max() < 1e-5
    wanted = LENS if name not in ("llff", "seven_scenes") else (
        [LENS[0], LENS[0], WIDTH / 2, HEIGHT / 2] if name == "llff" else [40, 42, 16.5, 11.5])
    np.testing.assert_allclose(views[2].intrinsics, wanted, atol=1e-6)
    file, image, row = importer.load(views[3])
    given = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    assert np.array_equal(image, given.transpose(2, 0, 1))
    assert file.endswith("3") and np.allclose(row["camera_to_world"], POSES[3], atol=1e-5)
    low, high = np.array(importer.scene["bounds"])
    assert (low < [0.2, 0.1, 0.3]).all() and (high > [0.2, 0.1, 0.3]).all()
    assert 0 < importer.scene["near"] < 4 < importer.scene["far"] < 12
    assert importer.announcements() == [] and not importer.summary(importer_notes(importer, views), COUNT)


def importer_notes(importer: Importer, views: list[View]) -> Any:
    from collections import Counter

    return Counter(importer.note(name, image) for name, image, _ in map(importer.load, views))


def test_depth_is_in_the_unit_of_poses(sets: dict[str, Path]) -> None:
    importer = SevenScenes()
    row = importer.load(importer.find(sets["seven_scenes"])[0])[2]
    assert row["depth"].dtype == np.float32 and (row["depth"][1:] == 4).all() and (row["depth"][0, :2] == 0).all()
    assert importer.units == {"depth": "scene units"}


def test_nerf_synthetic_has_an_angle_and_three_files(tmp_path: Path) -> None:
    pose = matrix(to_axes(POSES, "opengl")[0].astype(np.float64))
    for split in ("train", "val", "test"):
        picture(tmp_path / split / "r_0.png", 1, "RGBA")
        (tmp_path / f"transforms_{split}.json").write_text(json.dumps({
            "camera_angle_x": 0.8, "frames": [{"file_path": f"./{split}/r_0", "transform_matrix": pose}]}))
    importer = Transforms(Transforms.Config(background="black"))
    views = importer.find(tmp_path)
    assert [view.name for view in views] == ["train_r_0", "val_r_0", "test_r_0"]
    assert [view.split for view in views] == ["train", "val", "test"]
    np.testing.assert_allclose(views[0].intrinsics, [0.5 * WIDTH / np.tan(0.4)] * 2 + [WIDTH / 2, HEIGHT / 2])
    _, image, row = importer.load(views[0])
    given = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    wanted = given[..., :3] * (given[..., 3:] / 255)
    assert np.abs(image - wanted.transpose(2, 0, 1)).max() <= 0.51
    assert np.array_equal(row["mask"], given[..., 3] >= 128) and importer.scene["background"] == [0.0] * 3
    white = Transforms()
    lighter = white.load(white.find(tmp_path)[0])[1]
    assert np.abs(lighter - (wanted + 255 - given[..., 3:]).transpose(2, 0, 1)).max() <= 0.51


def test_a_lens_is_undone(tmp_path: Path) -> None:
    bend = {"k1": 0.3, "k2": -0.1, "p1": 0.02, "p2": -0.01}
    importer = Transforms()
    _, image, _ = importer.load(importer.find(transforms(tmp_path, **bend))[0])
    slope = (torch.tensor([20.5, 7.5]) - torch.tensor(LENS[2:]).float()) / torch.tensor(LENS[:2]).float()
    u, v = distort(slope, torch.tensor(list(bend.values()))) * torch.tensor(LENS[:2]) + torch.tensor(LENS[2:])
    given = np.asarray(Image.open(tmp_path / "images" / "0.png"), np.float64)
    x, y = int(u - 0.5), int(v - 0.5)
    patch = given[y : y + 2, x : x + 2]
    assert patch.min() - 60 <= image[:, 7, 20].min() and image[:, 7, 20].max() <= patch.max() + 60
    assert not np.array_equal(image, given.transpose(2, 0, 1))


def test_frames_without_a_picture_are_left_out_and_smaller_copies_taken(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = transforms(tmp_path / "in")
    (root / "images" / "2.png").unlink()
    for path in (root / "images").iterdir():
        picture(path, 1, size=(WIDTH // 2, HEIGHT // 2))
    views = Transforms(Transforms.Config(hold=0)).find(root)
    assert len(views) == COUNT - 1 and {view.split for view in views} == {""}
    np.testing.assert_allclose(views[0].intrinsics, LENS / 2)
    told = capsys.readouterr().err
    assert "left out: 1 of 6 frames without a picture, first images/2.png" in told
    assert "pictures are 0.5 times as large as transforms.json says" in told
    picture(root / "images" / "0.png", 1, size=(WIDTH // 2, HEIGHT))
    with pytest.raises(UserError, match=r"0.png: is 16 x 24 px, and transforms.json says 32 x 24"):
        Transforms().find(root)


def test_frames_have_cameras_of_their_own_and_a_scene(tmp_path: Path) -> None:
    root = transforms(tmp_path, aabb_scale=4)
    values = json.loads((root / "transforms.json").read_text())
    values["frames"][1] |= {"fl_x": 50.0, "fl_y": 51.0, "cx": 15.0}
    (root / "transforms.json").write_text(json.dumps(values))
    importer = Transforms()
    np.testing.assert_allclose(importer.find(root)[1].intrinsics, [50, 51, 15, LENS[3]])
    np.testing.assert_allclose(importer.scene["bounds"], [[-2 / 0.33] * 3, [2 / 0.33] * 3])
    (root / "transforms.json").write_text(json.dumps({**values, "aabb": [[-1, -2, -3], [1, 2, 3]]}))
    importer.find(root)
    assert importer.scene["bounds"] == [[-1, -2, -3], [1, 2, 3]]


def test_rays_begin_at_a_quarter_of_the_way_to_what_all_look_at(tmp_path: Path) -> None:
    """Where rays begin at the lens, a field makes fog before each camera."""
    around = list(ring(8, 4.0, 20.0).numpy())
    assert empty_before(around) == pytest.approx(1.0, rel=1e-5)
    nearer = around[0].copy()
    nearer[:, 3] *= 0.5
    assert empty_before([nearer, *around]) == pytest.approx(0.5, rel=1e-5)
    outward = [np.concatenate([pose[:, :1], pose[:, 1:3] * [[-1, -1]], pose[:, 3:]], 1) for pose in around]
    assert empty_before(outward) == 0 and empty_before(around[:1]) == 0
    importer = Transforms()
    views = importer.find(transforms(tmp_path, aabb_scale=4))
    expected = empty_before([view.camera_to_world for view in views])
    assert expected > 0 and importer.scene["near"] == pytest.approx(expected, abs=1e-6)


def test_the_wrong_convention_is_named(tmp_path: Path) -> None:
    root = transforms(tmp_path)
    importer = Transforms(Transforms.Config(axes="opencv"))
    importer.find(root)
    (line,) = importer.announcements()
    assert "the cameras look away from each other's subject: flip axes y and z with --axes" in line


@pytest.mark.parametrize("axes", ["opengl", "colmap"])
def test_cameras_are_written_and_come_back(axes: str, sets: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "set"
    Transforms().run(sets["transforms"], out)
    folder = ImageFolder(out)
    if axes == "colmap":
        assert write_colmap(folder, tmp_path / "out") == {"pictures": COUNT, "cameras": 1}
        views = Colmap().find(tmp_path / "out")
    else:
        assert write_transforms(folder, tmp_path / "out") == {"pictures": COUNT}
        assert not (tmp_path / "out" / "transforms.json").exists()
        importer = Transforms()
        views = importer.find(tmp_path / "out")
        assert sorted(view.split for view in views) == ["test", *["train"] * 5]
        assert importer.scene["bounds"] == folder.made["scene"]["bounds"]
    by_name = {view.name: view for view in views}
    for row in folder.rows:
        view = by_name[Path(row["file_name"]).stem]
        np.testing.assert_allclose(view.camera_to_world, row["camera_to_world"], atol=2e-6)
        np.testing.assert_allclose(view.intrinsics, row["intrinsics"], rtol=1e-6)
        assert view.picture.read_bytes() == (out / row["file_name"]).read_bytes()
    with pytest.raises(UserError, match="exists already"):
        write_colmap(folder, tmp_path / "out")


def test_a_set_without_cameras_is_not_written(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", 0)
    for write in (write_colmap, write_transforms):
        with pytest.raises(UserError, match="has no column 'camera_to_world'"):
            write(ImageFolder(tmp_path / "in"), tmp_path / "out")


def edit(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        values = json.loads((root / name).read_text())
        change(values)
        (root / name).write_text(json.dumps(values))

    return apply


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return apply


def bent(values: dict[str, Any]) -> None:
    values["frames"][0]["transform_matrix"] = matrix(np.diag([1.0, 1.0, -1.0, 1.0])[:3])


def without_pictures(root: Path) -> None:
    for path in (root / "images").iterdir():
        path.unlink()


BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    ("transforms", edit("transforms.json", lambda v: v.pop("frames")), "'frames' is missing or empty"),
    ("transforms", edit("transforms.json", lambda v: v.pop("fl_x")), "'fl_x' is missing"),
    ("transforms", edit("transforms.json", lambda v: v.update(fl_x=-3)), "focal lengths of -3"),
    ("transforms", edit("transforms.json", lambda v: v.update(k3=0.1)), "export it undistorted"),
    ("transforms", edit("transforms.json", lambda v: v.update(camera_model="FISHEYE")), "export it undistorted"),
    ("transforms", edit("transforms.json", lambda v: v.update(aabb=[[0, 0, 0], [1, 1, -1]])), "is not two corners"),
    ("transforms", edit("transforms.json", bent), "its pose is no rotation and place"),
    ("transforms", edit("transforms.json", lambda v: v["frames"][0].update(file_path="../../x.png")), "leads out"),
    ("transforms", lambda root: (root / "transforms.json").write_text("{"), "not valid JSON"),
    ("transforms", without_pictures, "none of its pictures is there"),
    ("colmap", replaced("sparse/0/cameras.txt", "OPENCV", "FISHEYE"), "the model FISHEYE is not read"),
    ("colmap", replaced("sparse/0/cameras.txt", " 0 0 0 0", " 0"), "has 5 parameters, not 8"),
    ("colmap", replaced("sparse/0/images.txt", " 1 0.png", " 7 0.png"), "its camera 7 is not in cameras.txt"),
    ("colmap", replaced("sparse/0/images.txt", " 1 0.png", ""), "a line has 8 words, not 10"),
    ("colmap", lambda root: (root / "sparse/0/cameras.txt").rename(root / "sparse/0/cameras.bin"), "model_converter"),
    ("llff", lambda root: np.save(root / "poses_bounds.npy", np.zeros((6, 5))), "N x 17 finite numbers are wanted"),
    ("llff", lambda root: (root / "images" / "0.png").unlink(), "has 5 pictures, and poses_bounds.npy 6 poses"),
    ("llff", lambda root: np.save(root / "poses_bounds.npy", np.array([{}]), allow_pickle=True), "plain numbers"),
    ("middlebury_views", replaced("toy_par.txt", "0.png ", "0.png nan "), "has 23 words"),
    ("middlebury_views", replaced("toy_par.txt", "40.0 0 ", "40.0 9 "), "axes are askew"),
    ("seven_scenes", lambda root: (root / "frame-000001.pose.txt").write_text("1 2 3"), "4 x 4 numbers is wanted"),
    ("seven_scenes", lambda root: (root / "camera-intrinsics.txt").write_text("x"), "3 x 3 numbers are wanted"),
]


@pytest.mark.parametrize("case", range(len(BROKEN)))
def test_broken_sets_are_refused_in_one_line(case: int, tmp_path: Path) -> None:
    name, harm, message = BROKEN[case]
    kind, build = LAYOUTS[name]
    harm(build(tmp_path))
    with pytest.raises(UserError) as error:
        importer = kind()
        list(map(importer.load, importer.find(tmp_path)))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_lost_frames_of_a_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        (tmp_path / f"seq-0{number}").mkdir()
        seven(tmp_path / f"seq-0{number}")
    np.savetxt(tmp_path / "seq-01" / "frame-000001.pose.txt", np.full((4, 4), np.nan))
    (tmp_path / "TestSplit.txt").write_text("sequence2\n")
    views = SevenScenes(SevenScenes.Config(every=1)).find(tmp_path)
    assert [view.split for view in views] == [*[""] * 5, *["test"] * 6]
    assert "left out: 1 of 12 frames without a pose" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["transforms", "colmap", "middlebury_views"])
def test_changed_bytes_are_read_or_refused(name: str, sets: dict[str, Path], tmp_path: Path) -> None:
    draw, (kind, build) = random.Random(4), LAYOUTS[name]
    root = build(tmp_path)
    file = {"transforms": "transforms.json", "colmap": "sparse/0/images.txt", "middlebury_views": "toy_par.txt"}[name]
    whole, refused = (root / file).read_bytes(), 0
    for _ in range(25):
        start = draw.randrange(len(whole))
        odd = draw.choice([b"", b"\xff", b"nan", b"e999", b"-", b"../", b"[", b"9" * 400, b"\n", b"\0"])
        (root / file).write_bytes(whole[:start] + odd + whole[start + draw.choice((0, 1, 9)) :])
        try:
            kind().find(root)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 0


def test_colmap_of_odd_names(tmp_path: Path) -> None:
    """Names need not be UTF-8, and what breaks lines elsewhere breaks none here."""
    root = colmap(tmp_path / "model")
    images = root / "sparse" / "0" / "images.txt"
    text = images.read_bytes().replace(b" 0.png", b" caf\xe9.png")
    images.write_bytes(text.replace(b" 1.png", " a\u2028b.png".encode()))
    for old, new in (("0.png", "caf\udce9.png"), ("1.png", "a\u2028b.png")):
        (root / "images" / old).rename(root / "images" / new)
    Colmap(Colmap.Config()).run(root, tmp_path / "out")
    assert len(ImageFolder(tmp_path / "out")) == COUNT
