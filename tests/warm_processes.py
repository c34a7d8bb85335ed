"""One server from which all processes of the tests are forked, with everything imported: a start costs no seconds."""

from __future__ import annotations

from multiprocessing import forkserver, get_context
from typing import Any

WARM = ("migaki.commands.reading", "migaki.stages.simulate", "migaki.stages.train", "migaki.stages.apply",
        "migaki.stages.damage", "migaki.stages.evaluate", "migaki.commands.import_command",
        "migaki.systems.simgan", "migaki.systems.gaze", "migaki.simulate.eyes",
        "migaki.simulate.digits", "migaki.simulate.rain", "migaki.importers.optdigits",
        "migaki.importers.photos", "migaki.commands.export_command", "migaki.lab.study",
        "migaki.systems.classifier", "migaki.report.evaluation", "toy_study", "torch._dynamo", "matplotlib.pyplot",
        "sklearn.neighbors")


def warm_context() -> Any:
    """The context to make processes in. Whoever starts the server first decides what it has imported, for good."""
    context = get_context("forkserver")
    context.set_forkserver_preload(list(WARM))
    forkserver.ensure_running()
    return context
