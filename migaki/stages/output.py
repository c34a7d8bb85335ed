"""What the stages that make a set of images one by one share: where it goes, in which form, and who computes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core import engine
from migaki.data.writers.formats import Format


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputJob:
    """Where to write, in which form, with how many hands."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "format", "run": "resume shard workers engine address"}

    out: Path  # the folder to write; an unfinished one is gone on with
    resume: bool = True  # go on with a folder that was begun before
    format: Format = "folder"  # or shards: tar files (webdataset), Parquet files with the images inside
    shard: int = 1000  # images in a shard
    workers: int = 1  # processes; 0 = one a core; the images are the same bits for any number
    engine: engine.Engine = "local"  # ray: on a cluster (extra migaki[ray])
    address: str | None = None  # of a running Ray cluster; none: one on this machine
