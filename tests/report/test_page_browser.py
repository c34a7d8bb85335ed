"""Pages in a real browser: on a phone and on a desk, folded parts, pictures shown large."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from browsers import DESK, NO_BROWSER, PHONE, check_fit, open_file

from migaki.metrics.gaze import AngularError
from migaki.report.evaluation import write_evaluation
from migaki.report.page import Number, Page
from migaki.report.sheets import image_png
from migaki.report.statistics import paired_difference, spread
from migaki.report.tables import Rated, Table

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)]

LONG = "4x synthetic eyes with AdaBN, the prior of gaze and self-training from photographs_without_a_blank"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all kinds of parts, names and cells long enough to burst it."""
    page = Page("A page", LONG)
    page.numbers([Number.of_change("PSNR of brightness", 24.123, 27.9, "{:.4f} dB", higher_is_better=True),
                  Number("share", "93% → 99%", LONG, "worse")])
    page.section("Pictures")
    page.pair(image_png(torch.rand(1, 9, 15)), image_png(torch.rand(1, 9, 15)), names=("rendered", "refined"))
    page.figure(image_png(torch.rand(3, 8, 90)), LONG)
    page.section("Tables")
    gaps = [paired_difference([0.0] * len(some), some).judged(higher_is_better=False)
            for some in ([0.123, -0.456], [0.1, 0.2, 0.4, 0.3])]
    columns = ["trained on", "mean error, deg", *(f"measure {k}" for k in range(8)), "saw of real data"]
    row = [LONG, Rated(value=spread([9.18, 9.27, 9.02]), trend="worse", word="worse than always the mean gaze"), *gaps,
           *(spread([10.0 * k + 1, 12.5]) for k in range(6)), "photographs without labels, all of them"]
    page.table(Table(columns, [row, row], LONG))
    page.table(Table(["step", "seconds"], [[LONG, 12.5]]))
    page.section("Repeat it", is_folded=True)
    page.code(["migaki train " + "--option value " * 40] * 3)
    return page.write(tmp_path_factory.mktemp("page") / "page.html")


class Pictures:
    """Stands for a folder of eyes."""

    shape = (1, 36, 60)

    def read(self, places: list[int], keys: tuple[str, ...]) -> dict[str, torch.Tensor]:
        return {"image": torch.rand(len(places), 1, 36, 60)}


def test_nothing_bursts_the_page_and_tables_show_their_figures(page_file: Path, tmp_path: Path) -> None:
    check_fit(page_file)
    metric = AngularError()
    truth = torch.randn(40, 2) * 0.2
    metric.update({"gaze": truth * 0.5}, {"gaze": truth})
    write_evaluation(tmp_path, {"run": "runs/" + LONG.replace(" ", "/"), "data": "data"}, metric,
                     [f"{k}.png" for k in range(40)], "migaki evaluate " + LONG,
                     Pictures())  # type: ignore[arg-type]
    check_fit(tmp_path / "evaluation.html")


def test_details_are_folded_until_they_are_asked_for(page_file: Path) -> None:
    with open_file(page_file, **DESK) as page:
        assert not page.locator("pre").is_visible()
        page.locator("nav a", has_text="Repeat it").click()
        page.locator("pre").wait_for(state="visible")


@pytest.mark.parametrize("options", [DESK, PHONE], ids=["desk", "phone"])
def test_a_picture_is_shown_large_and_its_partner_takes_its_place(page_file: Path, options: dict[str, object]) -> None:
    with open_file(page_file, **options) as page:
        picture = page.locator(".pair img").first
        before = picture.bounding_box()["width"]
        picture.click()
        large = page.locator("dialog.zoom img")
        large.wait_for(state="visible")
        assert large.bounding_box()["width"] > before
        assert large.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
        first = large.get_attribute("src")
        assert first == picture.get_attribute("src")
        page.keyboard.press("ArrowRight")
        assert large.get_attribute("src") == page.locator(".pair img").nth(1).get_attribute("src") != first
        page.keyboard.press("Escape")
        large.wait_for(state="hidden")
