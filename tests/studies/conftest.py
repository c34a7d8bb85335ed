"""Small studies draw more than they compute: their figures are coarse here. `tests/report` looks at true ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _coarse_figures() -> Iterator[None]:
    """A figure has all its parts, at a ninth of its pixels and without a search for the room that its texts need."""
    from matplotlib.figure import Figure  # slow to import

    drawn = Figure.savefig

    def coarse(self: Figure, *given: object, **options: object) -> None:
        self.set_layout_engine("none")
        drawn(self, *given, **{**options, "dpi": 50})  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", coarse)
        yield
