"""The calls by which one real run writes fail one after the other; once the fault is gone, the same runs complete with equal records."""

import builtins
import errno
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import grid
from benchmark.storage import yamlio
from benchmark.storage.run_folder import RunFolder
from benchmark.sweep.order import Order, Policy
from benchmark.sweep.plan import make
from benchmark.sweep.worker import Worker
from datasets.arena import prepare
from datasets.base import open_dataset
from tests.integration.sweeping import steady
from tests.integration.test_cli import sweep_file

SETTINGS = {
    "methods": ["fine_tuning"],
    "seeds": 1,
    "training": {"steps": 6, "batch_size": 8, "image_size": 32, "log_every": 2},
    "linearity": {"pairs": 4, "lambdas": 3},
    "runtime": {"checkpoint_seconds": 0.001},
}
CALLS = ("open", "replace", "link", "mkdir", "fsync")

pytestmark = pytest.mark.slow


class Parent:
    """What a worker is told and tells, without a process of its own."""

    def __init__(self, order: Order) -> None:
        self.order, self.policy = order, Policy(session="s", wait=False)
        self.preflight, self.alone, self.go, self.stop, self.telling = False, True, True, False, False
        self.events: list[dict[str, Any]] = []

    def tell(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    def wait(self, seconds: float) -> None:
        self.stop = True  # a run that is left open is not waited for


@contextmanager
def failing(at: int, number: int, lasting: bool) -> Iterator[list[str]]:
    """Call ``at`` (from 1), and all later ones where it is lasting, raise ``number``. Yields the names of all calls so far."""
    seen: list[str] = []

    def counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            mode = args[1] if len(args) > 1 and isinstance(args[1], str) else kwargs.get("mode", "r")
            if name != "open" or set(str(mode)) & set("wxa+"):
                seen.append(name)
                if len(seen) == at or (lasting and len(seen) > at):
                    raise OSError(number, os.strerror(number))
            return original(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS[1:]:
            patch.setattr(os, name, counted(name, getattr(os, name)))
        opened = counted("open", io.open)
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        yield seen


def carry_out(order: Order) -> list[dict[str, Any]]:
    parent = Parent(order)
    for run in order.folders():
        run.retry()
    Worker(parent).run()  # type: ignore[arg-type]
    return parent.events


FAULTS = [(errno.ENOSPC, False), (errno.EIO, False), (errno.ENOSPC, True)]


def test_every_call_that_writes_may_fail(images: Path, backbone: str, tmp_path: Path) -> None:
    sweep = grid.load(sweep_file(tmp_path, images, backbone, **SETTINGS), [])
    (config,) = sweep.runs
    prepare(open_dataset(config.data.use), config.data.decode)

    def ordered(name: str) -> tuple[Order, RunFolder]:
        out = tmp_path / name
        make(sweep, out)
        order = Order(str(out), (config.run_id,), "cpu", 1, 1)
        (run,) = order.folders()
        run.create(yamlio.dump(config.model_dump(mode="json")))
        return order, run

    order, whole = ordered("whole")
    assert carry_out(order)[-1]["event"] == "done"
    expected = steady(json.loads(whole.record_path.read_text()))
    table, at, fired = [], 0, True
    while fired:
        at += 1
        number, lasting = FAULTS[at % len(FAULTS)]
        order, run = ordered(f"cut{at}")
        with failing(at, number, lasting) as seen:
            events = carry_out(order)
        fired = len(seen) >= at
        how = events[-1]["event"] if events else "nothing"
        reason = str(events[-1].get("reason", "")) if events else ""
        fault = f"{errno.errorcode[number]}{' from here on' if lasting else ''}"
        table.append(f"{at:3} {seen[at - 1] if fired else '-':8} {fault:20} {how:12} {reason[:60]}")
        if how == "failed":
            assert os.strerror(number) in reason, table[-1]
        finished = run.record_path.stat().st_mtime_ns if run.record_path.exists() else None
        carry_out(order)
        assert run.record_path.exists(), table[-1]
        assert finished in (None, run.record_path.stat().st_mtime_ns), table[-1]
        assert steady(json.loads(run.record_path.read_text())) == expected, table[-1]
        assert run.state() == "done"
    print(f"{at - 1} calls failed in turn", *table, sep="\n")
    assert at > 20
