"""JPEGs that an importer does not alter are copied byte for byte; all other pictures become PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from migaki.data.files.image_file import read_image
from migaki.data.folder import ImageFolder
from migaki.importers.class_folders import ClassFolders
from migaki.importers.photos import Photos
from migaki.importers.untouched import Untouched, untouched

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two classes of JPEGs: colour, grey, turned by its EXIF, in CMYK, one that only calls itself JPEG, and a PNG."""
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "set" / "cat" / "colour.jpg", quality=90)
    image.convert("L").save(tmp_path / "set" / "cat" / "grey.jpeg")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "set" / "dog" / "turned.jpg", exif=exif)
    image.convert("CMYK").save(tmp_path / "set" / "dog" / "cmyk.jpg")
    image.save(tmp_path / "set" / "dog" / "called.jpg", "PNG")
    image.save(tmp_path / "set" / "dog" / "plain.png")
    return tmp_path / "set"


def imported(classes: Path, out: Path) -> dict[str, Path]:
    ClassFolders().run(classes, out)
    folder = ImageFolder(out)
    return {Path(name).stem: out / name for name in folder.names}


def test_plain_jpegs_are_copied(classes: Path, tmp_path: Path) -> None:
    found = imported(classes, tmp_path / "out")
    endings = {stem: path.suffix for stem, path in found.items()}
    assert endings == {"colour": ".jpg", "grey": ".jpg", "turned": ".png", "cmyk": ".png", "called": ".png",
                       "plain": ".png"}
    assert found["colour"].read_bytes() == (classes / "cat" / "colour.jpg").read_bytes()
    assert found["grey"].read_bytes() == (classes / "cat" / "grey.jpeg").read_bytes()
    for path in classes.rglob("*.*"):
        assert np.array_equal(read_image(found[path.stem])[:3], read_image(path)[:3]) or path.stem == "cmyk"


def test_whatever_is_computed_forgets_the_file(classes: Path) -> None:
    file = classes / "cat" / "colour.jpg"
    pixels = untouched(read_image(file), file)
    assert isinstance(pixels, Untouched) and pixels.source == file
    for other in (pixels + 0, pixels[:1], pixels.copy(), pixels[:, ::-1], 255 - pixels):
        assert isinstance(other, Untouched) and other.source is None
    broken = classes / "cat" / "broken.jpg"
    broken.write_bytes(file.read_bytes()[:20])
    assert not isinstance(untouched(read_image(file), broken), Untouched)
    assert not isinstance(untouched(read_image(file), classes / "no.jpg"), Untouched)


def test_photos_of_the_wanted_size_are_copied(classes: Path, tmp_path: Path) -> None:
    for width, suffix in ((32, ".jpg"), (30, ".png")):
        config = Photos.Config(width=width, height=24, channels=3)
        Photos(config).run(classes / "cat", tmp_path / f"out{width}")
        names = map(Path, ImageFolder(tmp_path / f"out{width}").names)
        kinds = {name.stem.split("_")[0]: name.suffix for name in names}
        assert kinds == {"colour": suffix, "grey": ".png"}
    equal = Photos.Config(width=32, height=24, channels=3, equalise=True)
    Photos(equal).run(classes / "cat", tmp_path / "equal")
    assert all(name.endswith(".png") for name in ImageFolder(tmp_path / "equal").names)
