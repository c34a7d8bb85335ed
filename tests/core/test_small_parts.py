"""Seeds, discovery, pictures, progress, hardware: small, but everything stands on them."""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core import hardware
from migaki.core.discovery import find_class, names_in
from migaki.core.errors import UserError
from migaki.core.glossary import glossary
from migaki.core.pictures import contact_sheet, to_uint8
from migaki.core.plural import counted
from migaki.core.progress import Bar
from migaki.core.seeds import fold, generator
from migaki.core.simulator import Simulator
from migaki.core.system import System


def test_distinct_places_have_distinct_seeds() -> None:
    seeds = [fold(seed, *place) for seed in (0, 1, 2**40, -1) for place in [(), (0,), (1,), (0, 0), (0, 1), (1, 0)]]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**63 for seed in seeds)
    assert fold(5, 6) == fold(5, 6)
    assert torch.equal(torch.rand(3, generator=generator(1, 2)), torch.rand(3, generator=generator(1, 2)))


def test_seeds_stay_what_they_were() -> None:
    """A change here would change every run and every simulated image."""
    assert (fold(0), fold(0, 1), fold(123, 4, 5)) == (fold(0), fold(0, 1), fold(123, 4, 5))
    state = np.random.SeedSequence(entropy=123, spawn_key=(4, 5)).generate_state(2, np.uint32)
    assert fold(123, 4, 5) == (int(state[0]) << 31) ^ int(state[1])


def test_everything_has_a_name_and_a_first_line() -> None:
    for package, base, kind in (("systems", "System", System), ("simulate", "Simulator", Simulator)):
        found = names_in(package, base)
        assert found
        for name, line in found.items():
            assert line and issubclass(find_class(package, name, kind), kind)
            assert find_class(package, name, kind).__doc__


def test_a_name_that_is_not_there_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match="no system is called 'simgam': did you mean 'simgan'"):
        find_class("systems", "simgam", System)
    with pytest.raises(UserError, match="known are"):
        find_class("systems", "../core/fit", System)


def test_the_glossary() -> None:
    columns = [column for key in glossary().values() for column in key.columns]
    assert len(set(columns)) == len(columns) and not set(columns) & set(glossary())
    for name, key in glossary().items():
        assert key.name == name and key.unit and (not key.columns or key.shape == (str(len(key.columns)),))


def test_bytes_are_rounded_and_clipped() -> None:
    images = torch.tensor([-1.0, 0.0, 0.499 / 255, 0.501 / 255, 1.0, 2.0]).view(1, 1, 1, 6)
    assert to_uint8(images).ravel().tolist() == [0, 0, 0, 1, 255, 255]
    assert to_uint8(torch.zeros(2, 3, 4, 5)).shape == (2, 4, 5, 3)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_contact_sheets_of_any_channels(channels: int) -> None:
    rows = [("first", torch.rand(3, channels, 5, 6)), ("second, shorter", torch.rand(2, channels, 4, 6))]
    with Image.open(io.BytesIO(contact_sheet(rows, zoom=3))) as page:
        assert page.size == (3 * 6 * 3, 2 * 14 + 5 * 3 + 4 * 3) and page.mode == "RGB"


def test_one_is_no_plural() -> None:
    assert [counted(number, "picture") for number in (0, 1, 2, 1000)] == [
        "0 pictures", "1 picture", "2 pictures", "1,000 pictures"]
    assert counted(1, "address", "addresses") == "1 address" and counted(3, "address", "addresses") == "3 addresses"


def test_progress_counts_and_is_silent_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("work", 4, 1) as bar:
        bar.advance(2, "note")
        bar.message("a line")
    said = capsys.readouterr()
    assert "work: 3/4" in said.err and "note" in said.err and "a line" in said.err and said.out == ""
    with Bar("work", 4, quiet=True) as bar:
        bar.advance(4)
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError), Bar("work", 4):
        raise ValueError
    assert capsys.readouterr().err == ""  # the error has the word


def test_precision_is_what_the_hardware_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert hardware.choose_precision("fp32", cpu) == "fp32" and hardware.choose_precision("bf16", cpu) == "bf16"
    monkeypatch.setattr(hardware, "_has_bf16_units", lambda: False)
    assert hardware.choose_precision("auto", cpu) == "fp32"
    with hardware.autocast(cpu, "fp32"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with hardware.autocast(cpu, "bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_no_file_names_a_machine() -> None:
    package = Path(hardware.__file__).resolve().parents[1]
    own = [str(place) for place in (package.parent, Path.home()) if len(place.parts) > 1]
    assert own
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not any(word in text for word in own), path


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep its memory")
def test_a_process_on_a_cpu_keeps_its_memory() -> None:
    """What was freed is had again without the system clearing its pages: a process of its own counts page faults."""
    program = """
import resource, sys, torch
from migaki.core.hardware import choose_device
if sys.argv[1] == "keep":
    choose_device("cpu")
torch.ones(2**22), torch.ones(2**22)  # 16 MiB each
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):  # the first few may touch new pages, as the heap has grown by more than was asked for
    torch.ones(2**22)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    kept, given = (int(subprocess.run([sys.executable, "-c", program, way], check=True, capture_output=True,
                                      env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}).stdout)
                   for way in ("keep", "give"))
    assert kept < given / 10
