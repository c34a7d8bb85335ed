"""The best pictures of a collected folder as one ZIP file: an image folder with metadata.jsonl and ATTRIBUTION.md."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from migaki.core.files import open_plain
from migaki.importers.collecting.attribution import attribution
from migaki.importers.collecting.names import folder_name

Row = Mapping[str, Any]


def best_rows(rows: Sequence[Row], count: int, wrong: Collection[int] = ()) -> list[Row]:
    """Returns the first `count` rows by `rank_2` (else the given rank): one of each group of near-duplicates.

    `wrong` are given ranks that people have clicked wrong; they are left out.
    """
    order = sorted(rows, key=lambda row: (row.get("rank_2", row["rank_given"]), row["rank_given"]))
    first: dict[int, Row] = {}
    for row in order:
        if row["rank_given"] not in wrong:
            first.setdefault(row["duplicate_group"], row)
    return list(first.values())[:count]


def zip_of(out: Path, word: str, rows: Sequence[Row]) -> bytes:
    """Returns the ZIP file of these pictures of the folder `out`; the same rows give the same bytes.

    It is an ImageFolder: the pictures are in a folder named after the word. Pictures that are gone are left out.
    """
    place, buffer, kept = folder_name(word), io.BytesIO(), list[dict[str, Any]]()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for row in rows:
            name = f"{place}/{len(kept) + 1:03d}.jpg"
            try:
                with open_plain(out / row["file_name"]) as file:
                    content = file.read()
            except OSError:
                continue
            _add(packed, name, content)
            kept.append({**row, "file_name": name})
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        _add(packed, "metadata.jsonl", lines.encode("utf-8", "backslashreplace"))
        _add(packed, "ATTRIBUTION.md", attribution(word, kept).encode("utf-8", "backslashreplace"))
    return buffer.getvalue()


def _add(packed: zipfile.ZipFile, name: str, content: bytes) -> None:
    packed.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
