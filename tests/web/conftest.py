"""Two folders of small images, a running server, and the browser if there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browsers import NO_BROWSER
from page_server import Server
from PIL import Image

from migaki.web.connections import ConnectionLimits
from migaki.web.sittings import Sittings
from migaki.web.turing import TuringConfig, open_test


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if NO_BROWSER:
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason=NO_BROWSER))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if NO_BROWSER:
        terminalreporter.write_line(f"The browser tests were SKIPPED: {NO_BROWSER}", yellow=True)


def draw_faces(count: int, seed: int, *, smooth: bool, size: tuple[int, int] = (55, 35)) -> list[Image.Image]:
    """Dark discs on a bright ground; the fakes (`smooth`) lack the noise of the real ones."""
    draw = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width]
    images = []
    for _ in range(count):
        cx, cy, radius = draw.uniform(0.3, 0.7) * width, draw.uniform(0.35, 0.65) * height, draw.uniform(5, 9)
        face = 170 - 120 / (1 + np.exp(np.hypot(x - cx, y - cy) - radius)) + 20 * np.sin(y / 6 + draw.uniform(0, 6))
        face += 0 if smooth else draw.normal(0, 9, face.shape)
        images.append(Image.fromarray(face.clip(0, 255).astype(np.uint8)))
    return images


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(real, fake): 40 images each, whose names, formats and metadata give them away."""
    root = tmp_path_factory.mktemp("sets")
    for name, smooth in (("real", False), ("fake", True)):
        (root / name).mkdir()
        for number, image in enumerate(draw_faces(40, smooth, smooth=smooth)):
            if smooth:
                image.save(root / name / f"refined_{number}.png")
            else:
                exif = Image.Exif()
                exif[0x010F] = "Camera maker"
                image.convert("RGB").save(root / name / f"IMG_{number}.jpg", quality=95, exif=exif)
    return root / "real", root / "fake"


@pytest.fixture
def config(folders: tuple[Path, Path], tmp_path: Path) -> TuringConfig:
    """A test of four images of each kind."""
    return TuringConfig(real=folders[0], fake=folders[1], out=tmp_path / "out", per_class=4, port=0)


@pytest.fixture
def sittings(config: TuringConfig) -> Iterator[Sittings]:
    """The open file of that test."""
    opened = open_test(config)
    yield opened
    opened.close()


@pytest.fixture
def serve(config: TuringConfig) -> Iterator[Callable[..., Server]]:
    """Start servers that are stopped at the end."""
    running: list[Server] = []

    def start(chosen: TuringConfig = config, limits: ConnectionLimits | None = None) -> Server:
        running.append(Server(chosen, limits))
        return running[-1]

    yield start
    for server in running:
        server.stop()
