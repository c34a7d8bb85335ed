"""The feature store: rows by content, resumed, shared by processes, the same with any workers; what is refused."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.feature_store import FeatureStore, prepared
from migaki.data.files import framing
from migaki.data.files.image_file import read_image
from migaki.data.folder import ImageFolder
from migaki.nets.texture_features import open_features
from migaki.ops.colour import luma
from migaki.ops.pooling import gram

LAYER = "size_3+size_23"
Array = np.ndarray[Any, Any]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    for number in range(20):
        pixels = draw.integers(0, 256, (40 + number, 48, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / f"{number:02d}.png")
    return tmp_path / "set"


def rows_of(store: Path, pictures: Path, **more: Any) -> Array:
    return FeatureStore(store).rows(ImageFolder(pictures), open_features("random"), LAYER, size=32, **more)


def test_a_row_is_the_pooled_map_of_the_prepared_picture(pictures: Path, tmp_path: Path) -> None:
    features = open_features("random")
    rows = rows_of(tmp_path / "store", pictures, pooling="gram")
    image = prepared(pictures / "07.png", 32)
    maps = features.maps(image, LAYER)
    wanted = torch.cat([gram(maps["size_3"]), gram(maps["size_23"])], 1)[0].numpy()
    assert rows.shape == (20, 2 * 32 * 33 // 2) and np.array_equal(rows[7], wanted)
    assert isinstance(rows, np.memmap) and rows.dtype == np.float32


def test_rows_belong_to_the_content_of_a_file(pictures: Path, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    first = np.array(rows_of(tmp_path / "store", pictures))
    (pictures / "00.png").rename(pictures / "99.png")
    monkeypatch.setattr("migaki.data.feature_store.prepared", lambda *_: pytest.fail("computed again"))
    again = rows_of(tmp_path / "store", pictures)
    assert np.array_equal(again[:-1], first[1:]) and np.array_equal(again[-1], first[0])
    few = FeatureStore(tmp_path / "store").rows([pictures / "05.png", pictures / "03.png", pictures / "05.png"],
                                                open_features("random"), LAYER, size=32)
    assert np.array_equal(few, first[[5, 3, 5]])


def test_other_ways_have_other_rows(pictures: Path, tmp_path: Path) -> None:
    plain = rows_of(tmp_path / "store", pictures)
    for more in ({"quality": 60}, {"scales": (1.0, 2.0)}, {"pooling": "mean_sd"}, {"through": 20}, {"grey": True}):
        other = rows_of(tmp_path / "store", pictures, **more)
        assert other.shape != plain.shape or not np.array_equal(other, plain)
        assert len(other) == 20
    found = FeatureStore(tmp_path / "store").rows(ImageFolder(pictures), open_features("random=1"), LAYER, size=32)
    assert not np.array_equal(found, plain) and len(list((tmp_path / "store").iterdir())) == 7


def test_re_encoding_is_that_of_a_jpeg(pictures: Path, tmp_path: Path) -> None:
    plain, coded = prepared(pictures / "00.png", 32), prepared(pictures / "00.png", 32, 50)
    pixels = (plain[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).save(tmp_path / "one.jpg", quality=50)
    with Image.open(tmp_path / "one.jpg") as image:
        assert np.array_equal((coded[0].permute(1, 2, 0) * 255).round().numpy(), np.asarray(image))


def test_equal_detail_and_no_colour(pictures: Path) -> None:
    small = framing.resize(read_image(pictures / "03.png"), (20, 20))
    assert np.array_equal(prepared(pictures / "03.png", 32, through=20)[0].numpy(),
                          framing.to_unit(framing.resize(small, (32, 32))))
    grey = prepared(pictures / "03.png", 32, grey=True)[0]
    assert torch.equal(grey[0], grey[1]) and torch.equal(grey[1], grey[2])
    assert (grey[0] - luma(prepared(pictures / "03.png", 32))[0, 0]).abs().max() < 0.01


def test_one_more_picture_costs_one(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows_of(tmp_path / "store", pictures)
    Image.new("L", (50, 50), 90).save(pictures / "20.png")  # grey
    calls: list[tuple[Any, ...]] = []
    seen: list[tuple[int, int]] = []

    def counted(*arguments: Any) -> torch.Tensor:
        calls.append(arguments)
        return prepared(*arguments)

    monkeypatch.setattr("migaki.data.feature_store.prepared", counted)
    rows = rows_of(tmp_path / "store", pictures, progress=lambda done, total: seen.append((done, total)))
    assert len(rows) == 21 and len(calls) == 1 and seen == [(20, 21), (21, 21)]


@pytest.mark.parametrize("cut", ["rows.f32", "keys"])
def test_a_killed_writer_loses_rows_and_nothing_else(cut: str, pictures: Path, tmp_path: Path) -> None:
    whole = np.array(rows_of(tmp_path / "store", pictures))
    (space,) = (tmp_path / "store").iterdir()
    data = (space / cut).read_bytes()
    (space / cut).write_bytes(data[: len(data) // 2 + 5])  # within an entry
    assert np.array_equal(rows_of(tmp_path / "store", pictures), whole)
    assert (space / "rows.f32").stat().st_size == whole.nbytes and len((space / "keys").read_bytes()) == 20 * 32


def test_workers_give_the_same_bits(pictures: Path, tmp_path: Path, warm_processes: None) -> None:
    assert np.array_equal(rows_of(tmp_path / "one", pictures), rows_of(tmp_path / "two", pictures, workers=2))


def test_several_processes_fill_one_store(pictures: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    crowd = [context.Process(target=rows_of, args=(tmp_path / "store", pictures)) for _ in range(3)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert [one.exitcode for one in crowd] == [0, 0, 0]
    (space,) = (tmp_path / "store").iterdir()
    assert len((space / "keys").read_bytes()) == 20 * 32
    assert np.array_equal(rows_of(tmp_path / "store", pictures), rows_of(tmp_path / "alone", pictures))


def test_what_cannot_be_a_row_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"size 8: 32 to 4096 px"):
        FeatureStore(tmp_path / "s").rows(ImageFolder(pictures), open_features("random"), size=8)
    with pytest.raises(UserError, match="through 5: 16 to 4096 px"):
        rows_of(tmp_path / "s", pictures, through=5)
    with pytest.raises(UserError, match="quality 99"):
        rows_of(tmp_path / "s", pictures, quality=99)
    with pytest.raises(UserError, match=r"scales 0\.5: above 0"):
        rows_of(tmp_path / "s", pictures, scales=(0.5,))
    with pytest.raises(UserError, match="pooling 'max'"):
        rows_of(tmp_path / "s", pictures, pooling="max")
    Image.new("RGB", (12, 90)).save(pictures / "tiny.png")
    with pytest.raises(UserError, match=r"tiny\.png: is 12x90 px, too small for features"):
        rows_of(tmp_path / "s", pictures)
    (pictures / "tiny.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(UserError, match=r"tiny\.png"):
        rows_of(tmp_path / "s", pictures)


def test_a_store_that_was_tampered_with_is_refused(pictures: Path, tmp_path: Path) -> None:
    rows_of(tmp_path / "store", pictures)
    (space,) = (tmp_path / "store").iterdir()
    keys = (space / "keys").read_bytes()
    (space / "keys").write_bytes(keys[:32] + keys[:32] + keys[64:])
    with pytest.raises(UserError, match="names a picture twice: delete the folder"):
        rows_of(tmp_path / "store", pictures)
    about = json.loads((space / "space.json").read_text())
    (space / "space.json").write_text(json.dumps(about | {"size": 64}))
    with pytest.raises(UserError, match="describes other rows than its folder's name"):
        rows_of(tmp_path / "store", pictures)
    (space / "space.json").write_text(json.dumps(about))
    (space / "keys").unlink()
    (space / "keys").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link"):
        rows_of(tmp_path / "store", pictures)
