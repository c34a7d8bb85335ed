"""NYU frames that the test writes in the published format, and the one real frame."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.importers.nyu import JOINTS_OF_36, NYU, crop_hand, decode_depth, read_depth, read_joints

DATA = Path(os.environ.get("MIGAKI_DATA", Path(__file__).parents[3] / "shared/data")) / "hands"
FRAME, TABLE = DATA / "nyu_test_frame_0000001_depth.png", DATA / "nyu_keypointsUVD_test.mat"


def encode(depth):
    """Depth in whole mm as the authors store it: 256 * G + B."""
    depth = np.asarray(depth, np.uint16)
    return np.stack([np.zeros_like(depth), depth >> 8, depth & 255], -1).astype(np.uint8)


@pytest.fixture
def nyu(tmp_path):
    """Two frames of camera 1, one of camera 2, one synthetic: a square of 100 px at 700 + 10 k mm on nothing."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(-40, 40, (3, 2, 36, 3))
    joints += np.array([320.0, 240, 700])
    folder = tmp_path / "test"
    folder.mkdir()
    scipy.io.savemat(folder / "joint_data.mat", {"joint_uvd": joints, "joint_xyz": joints,
                                                 "joint_names": np.array([f"J{k}" for k in range(36)], object)})
    for name, shift in (("depth_1_0000001", 0), ("depth_1_0000002", 10), ("depth_2_0000001", 20),
                        ("synthdepth_1_0000001", 30)):
        depth = np.full((480, 640), 2001, np.uint16)
        depth[190:290, 270:370] = 700 + shift
        Image.fromarray(encode(depth)).save(folder / f"{name}.png")
    return folder, joints


def test_depth_survives_the_encoding():
    depth = np.arange(2001, dtype=np.uint16).reshape(3, 667)
    assert np.array_equal(decode_depth(encode(depth)), depth.astype(np.float32))
    assert decode_depth(encode(np.array([[2001, 5000]]))).tolist() == [[0, 0]]


def test_frames_and_joints_are_read(nyu):
    folder, joints = nyu
    depth = read_depth(folder / "depth_1_0000002.png")
    assert depth.shape == (480, 640) and depth[200, 300] == 710 and depth[0, 0] == 0
    read = read_joints(folder / "joint_data.mat")
    assert len(JOINTS_OF_36) == 14
    np.testing.assert_allclose(read[1, 0, 10], joints[1, 0, 27], rtol=1e-6)
    assert read.shape == (3, 2, 14, 3)


def test_the_crop_keeps_joints_over_their_pixels(nyu):
    folder, joints = nyu
    depth = read_depth(folder / "depth_1_0000001.png")
    chosen = joints[0, 0, list(JOINTS_OF_36)].astype(np.float32)
    hand = crop_hand(depth, chosen, (224, 200), 300.0)
    assert hand["image"].shape == (1, 224, 200)
    # Pinhole by hand: the same point in mm through both cameras.
    u, v, z = chosen.T
    fx, fy, cx, cy = hand["camera"].numpy()
    np.testing.assert_allclose(hand["joints"][:, 0], (u - 320) / 588.03 * fx + cx, atol=1e-2)
    np.testing.assert_allclose(hand["joints"][:, 1], (v - 240) / 587.07 * fy + cy, atol=1e-2)
    np.testing.assert_allclose(hand["joints"][:, 2], z)
    # The corner (270, 190) of the square, at its outer edge, lies here in the crop.
    left, top = (269.5 - 320) / 588.03 * fx + cx, (189.5 - 240) / 587.07 * fy + cy
    filled = hand["depth"].numpy() > 0
    columns, rows = np.flatnonzero(filled.any(0)), np.flatnonzero(filled.any(1))
    assert columns[0] == np.ceil(left) and rows[0] == np.ceil(top)
    assert set(np.unique(hand["depth"].numpy())) == {0.0, 700.0}
    grey = (700 - float(hand["centre"][2]) + 150) / 300
    assert hand["image"][0].numpy()[filled] == pytest.approx(grey, abs=1e-4) and hand["image"].max() == 1


def test_outside_of_the_frame_there_is_no_reading():
    joints = np.tile(np.float32([5, 5, 700]), (14, 1))
    hand = crop_hand(np.full((480, 640), 700, np.float32), joints, (64, 64), 300.0)
    assert hand["depth"][0, 0] == 0 and hand["depth"][-1, -1] == 700


@pytest.mark.parametrize(("changes", "count"), [({}, 2), ({"camera": 2}, 1), ({"synthetic": True}, 1),
                                                ({"limit": 1}, 1)])
def test_import_writes_an_image_folder(nyu, tmp_path, changes, count):
    folder, _ = nyu
    assert NYU(NYU.Config(size=64, **changes)).run(folder, tmp_path / "out") == count
    batch = ImageFolder(tmp_path / "out").read(range(count), ("image", "joints", "depth", "camera", "centre"))
    assert batch["image"].shape == (count, 1, 64, 64) and batch["joints"].shape == (count, 14, 3)
    assert batch["depth"].shape == (count, 64, 64)
    expected = {"camera": 720.0, "synthetic": 730.0}.get(next(iter(changes), ""), 700.0)
    assert batch["depth"][0].max() == expected
    assert batch["camera"].shape == (count, 4) and batch["centre"].shape == (count, 3)


def test_every_frame_has_the_joints_of_its_own_number(nyu, tmp_path):
    """Also where frames are missing in between, and for the camera that was asked for."""
    folder, joints = nyu
    (folder / "depth_1_0000001.png").unlink()
    NYU(NYU.Config(size=64)).run(folder, tmp_path / "out")
    other = NYU(NYU.Config(size=64, camera=2)).run(folder, tmp_path / "other")
    assert other == 1
    first, second = ImageFolder(tmp_path / "out"), ImageFolder(tmp_path / "other")
    assert first.labels["frame"].tolist() == [2] and second.labels["frame"].tolist() == [1]
    for view, camera in ((first, 0), (second, 1)):
        for row, frame in enumerate(view.labels["frame"].tolist()):
            wanted = joints[camera, frame - 1, list(JOINTS_OF_36)]
            np.testing.assert_allclose(view.labels["joints"][row, :, 2], wanted[:, 2], atol=0.01)
            fx, _, cx, _ = view.labels["camera"][row]
            found = (view.labels["joints"][row, :, 0] - cx) / fx * 588.03 + 320
            np.testing.assert_allclose(found, wanted[:, 0], atol=0.05)


def test_mistakes_are_reported_in_one_line(nyu, tmp_path):
    folder, _ = nyu
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "grey.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    scipy.io.savemat(tmp_path / "other.mat", {"x": 1})
    (tmp_path / "no.mat").write_bytes(b"no matlab")
    calls = [lambda: read_depth(tmp_path / "grey.png"), lambda: read_depth(tmp_path / "broken.png"),
             lambda: read_depth(tmp_path / "none.png"), lambda: read_joints(tmp_path / "other.mat"),
             lambda: read_joints(tmp_path / "no.mat"), lambda: read_joints(tmp_path / "none.mat"),
             lambda: NYU(NYU.Config(camera=4)).find(folder), lambda: NYU().find(folder / "joint_data.mat"),
             lambda: crop_hand(np.zeros((4, 4), np.float32), np.full((14, 3), np.nan, np.float32), (8, 8), 300.0)]
    for call in calls:
        with pytest.raises(UserError) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(not FRAME.is_file() or not TABLE.is_file(), reason=f"no NYU frame at {FRAME}: set MIGAKI_DATA")
def test_the_real_frame_has_its_joints_under_the_skin():
    depth, joints = read_depth(FRAME), read_joints(TABLE)[0, 0]
    hand = crop_hand(depth, joints, (224, 224), 300.0)
    rows, columns = hand["joints"][:, 1].round().long(), hand["joints"][:, 0].round().long()
    under = hand["joints"][:, 2] - hand["depth"][rows, columns]
    assert (under > 0).all() and (under < 40).all()  # an open hand: every joint is in the flesh, seen from the palm
    assert 0.1 < (hand["image"] < 1).float().mean() < 0.5
