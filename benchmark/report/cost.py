"""What runs cost in hours of the processor they ran on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmark.report.collect import Run


@dataclass(frozen=True)
class Cost:
    """How runs are counted: ``kinds`` maps each device's name to ``GPU``, ``CPU`` or '' where its runs kept no settings."""

    kinds: Mapping[str, str]

    @property
    def unit(self) -> str:
        """``GPU-hours``, ``CPU-hours``, or ``hours`` where devices of both kinds, or of a kind not known, come together."""
        (kind,) = found if len(found := set(self.kinds.values())) == 1 else ("",)
        return f"{kind}-hours" if kind else "hours"

    def hours(self, run: Run) -> float:
        """Wall hours of one GPU, or wall hours times threads on a CPU."""
        wall = run.record["wall_seconds"] / 3600
        return wall * run.record["threads"] if self.kinds[run.record["device"]] == "CPU" else wall

    def total(self, runs: Iterable[Run]) -> float | None:
        """Hours of all ``runs`` together; None for no runs."""
        found = [self.hours(run) for run in runs]
        return sum(found) if found else None


def cost_of(runs: Iterable[Run]) -> Cost:
    """The kinds of the devices of ``runs``, each read from the settings of one of its runs."""
    kinds: dict[str, str] = {}
    for run in runs:
        device = run.record["device"]
        if not kinds.get(device):
            kinds[device] = {"cuda": "GPU", "cpu": "CPU"}.get(run.settings().get("runtime", {}).get("device"), "")
    return Cost(kinds)
