"""The confusion matrix as a table: recall at the right, precision below, accuracy in the corner."""

from __future__ import annotations

import numpy as np
import torch

from migaki.report.class_table import class_pictures, class_table, precisions


def test_recall_precision_and_accuracy() -> None:
    section = class_table([[8, 2, 0], [1, 3, 0], [0, 0, 0]], ["a", "b\n", "c"])
    assert section.columns == ["true \\ predicted", "a", "b\\n", "c", "recall, %"]
    assert [row[-1] for row in section.rows] == ["80.0", "75.0", "", "78.6"]
    assert list(section.rows[-1]) == ["precision, %", "88.9", "60.0", "", "78.6"]
    assert precisions(np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])) == [8 / 9, 3 / 5, None]


def test_pictures_of_each_class() -> None:
    section = class_pictures({"a": [torch.rand(3, 8, 8)] * 3, "none": []}, "Pictures.")
    assert section.picture is not None and section.picture.startswith(b"\x89PNG") and section.caption == "Pictures."
