"""One server from which all processes of the tests are forked, with everything imported: a start costs no seconds."""

from __future__ import annotations

from multiprocessing import forkserver, get_context
from typing import Any

WARM = ("migaki.commands.simulate_command", "migaki.commands.train_command", "migaki.commands.apply_command",
        "migaki.commands.import_command", "migaki.commands.evaluate_command", "migaki.commands.export_command",
        "migaki.systems.simgan", "migaki.systems.gaze", "migaki.simulate.eyes", "migaki.simulate.digits",
        "migaki.simulate.rain", "migaki.importers.optdigits", "migaki.importers.photos", "migaki.lab.study",
        "migaki.systems.classifier", "migaki.report.evaluation", "toy_study", "torch._dynamo", "matplotlib.pyplot")


def warm_context() -> Any:
    """The context to make processes in. Whoever starts the server first decides what it has imported, for good."""
    context = get_context("forkserver")
    context.set_forkserver_preload(list(WARM))
    forkserver.ensure_running()
    return context
