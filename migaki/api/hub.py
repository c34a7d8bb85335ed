"""Runs on the Hugging Face hub (extra: migaki[hub]): what goes there, and what is taken from there."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from migaki.core.errors import UserError
from migaki.core.files import read_json, write_json, write_text
from migaki.core.log import read_rows
from migaki.core.model_card import model_card
from migaki.core.trained import load_system, read_record
from migaki.report.run_report import write_run_report

FILES: Final = ("config.json", "model.safetensors", "README.md", "metrics.jsonl", "report.html", "samples/*.png")
"""What of a run goes to a hub, and all that is taken from one."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def push(run: Path, name: str, *, private: bool, pictures: bool, token: str | None, message: str,
         endpoint: str | None) -> str:
    """Upload a run; returns the address of its page. Raises UserError for a bad name and whatever the hub refuses."""
    hub = _library()
    if not _NAME.fullmatch(name):
        raise UserError(f"push_to_hub: '{name}' is no name on the hub: give it as org/model")
    api = hub.HfApi(endpoint=endpoint, token=token)
    with tempfile.TemporaryDirectory() as place:
        package(run, Path(place), pictures=pictures)
        try:
            address = api.create_repo(name, private=private, exist_ok=True, repo_type="model")
            api.upload_folder(repo_id=name, folder_path=place, allow_patterns=list(FILES),
                              commit_message=message or f"migaki: {read_record(run)['system']}")
        except Exception as error:  # of many libraries below: httpx, the hub's own, the operating system's
            raise _refused("push_to_hub", name, error) from error
    return str(address)


def package(run: Path, place: Path, *, pictures: bool) -> None:
    """Copy what goes to the hub into an empty folder: paths of this machine become names, and the card is written
    anew, with the figures of RUN/evaluation if the run has been judged. Contact sheets, which show the user's
    photographs, only with `pictures`."""
    record = read_record(run)
    record["data"] = {field: _names(paths) for field, paths in record.get("data", {}).items()}
    write_json(place / "config.json", record)
    for file in ("model.safetensors", "metrics.jsonl"):
        if (run / file).is_file():
            shutil.copyfile(run / file, place / file)
    (place / "samples").mkdir()
    for sheet in sorted((run / "samples").glob("*.png")) if pictures else ():
        shutil.copyfile(sheet, place / "samples" / sheet.name)
    judged = run / "evaluation" / "evaluation.json"
    evaluation = read_json(judged) if judged.is_file() else None
    rows = read_rows(run / "metrics.jsonl")
    card = model_card(load_system(run), record, rows, evaluation=evaluation if isinstance(evaluation, dict) else None)
    write_text(place / "README.md", card)
    write_run_report(place)


def _names(paths: Any) -> Any:
    return [Path(path).name for path in paths] if isinstance(paths, list) else Path(paths).name


def fetch(name: str, *, token: str | None, endpoint: str | None) -> Path:
    """Download a run, or find it in the hub's cache; returns its folder. `name` is org/model or org/model@revision.

    Only the files of a run are taken. Raises UserError for a bad name and whatever the hub refuses.
    """
    hub = _library()
    name, _, revision = name.partition("@")
    if not _NAME.fullmatch(name):
        raise UserError(f"load: 'hf://{name}' is no name on the hub: give it as hf://org/model")
    try:
        found = hub.snapshot_download(name, revision=revision or None, allow_patterns=list(FILES), token=token,
                                      endpoint=endpoint)
    except Exception as error:  # see above
        raise _refused("load", name, error) from error
    return Path(os.fspath(found))


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError("the hub needs an extra: pip install 'migaki[hub]'") from error
    return huggingface_hub


def _refused(call: str, name: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"{call}: the hub refused '{name}' ({reason}): check the name, your network and your token "
                     "(`hf auth login`)")
