"""For all tests: one thread a test (two busy cores are common), the real data if there are any, tiny folders."""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch and numpy are first imported

import pytest
import torch
from toy_folders import write_folder

CHECKOUT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MIGAKI_DATA", CHECKOUT.parent / "shared" / "data"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collecting makes millions of objects that stay: looking for garbage among them cost a third of its time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


_LAST = ("api", "data", "geometry", "losses", "metrics", "nets", "ops", "report", "simulate", "importers", "judges")
"""Folders whose tests are short: what takes long begins first, so that no worker sits idle at the end."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the tests of folders that take long to the front, in the same order in every worker."""
    order = {"studies": 0, "shelves": 0, "reliability": 0, **dict.fromkeys(_LAST, 2)}
    items.sort(key=lambda item: order.get(item.path.parent.name, 1))


_DRAWN = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Half the time of a small study goes into drawing its figures: they stay blank but where drawing is tested.

    `make test-long` (no selection by marks) draws them all. Figures of other processes are drawn.
    """
    from migaki.report import figures

    draw = figures._bytes
    config.stash[_DRAWN] = True

    def drawn_where_it_matters(figure: Any, fmt: figures.Format) -> bytes:
        if config.stash[_DRAWN] or fmt != "png":
            return draw(figure, fmt)
        return _blank(*(round(150 * side) for side in figure.get_size_inches()))

    figures._bytes = drawn_where_it_matters


@cache
def _blank(width: int, height: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the fixtures of a test, which draw as well."""
    item.config.stash[_DRAWN] = not item.config.option.markexpr or item.path.parent.name == "report"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than they bring at the sizes of tests."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """A function: name in the data folder -> path, or skip."""

    def find(name: str) -> Path:
        if not (DATA / name).exists():
            pytest.skip(f"needs {name} in the data folder (MIGAKI_DATA, by default ../shared/data)")
        return DATA / name

    return find


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """`image_folder("name", 6, (24, 40))`: a folder of small images in tmp_path, see `toy_folders`."""

    def make(name: str, count: int = 6, size: tuple[int, int] = (24, 40), **more: object) -> Path:
        return write_folder(tmp_path / name, count, size, **more)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def one_operator_table() -> Iterator[None]:
    """For tests that export: PyTorch reads its table of ONNX operators anew for each export, the same each time."""
    from torch.onnx._internal.exporter import _registration as exporter  # slow to import: only where it is asked for

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter.ONNXRegistry, "from_torchlib",
                      staticmethod(cache(exporter.ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="session")
def warm_processes() -> None:
    """For tests whose code starts processes itself: see `warm_processes.py`."""
    from warm_processes import warm_context  # imports PyTorch once more: only where it is asked for

    warm_context()


@pytest.fixture(scope="session")
def estimators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small trained estimators of discs, see `disc_places.train_estimators`."""
    from disc_places import train_estimators  # trains: only where it is asked for

    return train_estimators(tmp_path_factory.mktemp("estimators"))
