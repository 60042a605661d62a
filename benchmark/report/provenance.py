"""Where the numbers come from: the settings, software and hardware that the records name."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from benchmark.report.collect import Run, SweepInfo


def provenance(info: SweepInfo, runs: Sequence[Run]) -> list[tuple[str, str]]:
    """(name, text) pairs; a value that differs between runs is given in all its forms."""
    rows = [("Sweep file", info.source), ("Command", info.command), ("Protocol", info.protocol)]
    rows += [("Selection", info.selection)] if info.selection else []
    if not runs:
        return rows
    fields: dict[str, Callable[[dict[str, Any]], Any]] = {
        "Backbone": lambda r: r.get("backbone"),
        "Weights (sha256)": lambda r: r["weights_hash"],
        "Data (hash)": lambda r: f"{r.get('dataset')}: {r['data_hash']}",
        "Training images": lambda r: f"{r.get('dataset')} at {r.get('fraction')}: {r.get('num_train')} of {r.get('num_classes')} classes",
        "Steps × batch": lambda r: f"{r.get('steps')} × {r.get('batch_size')}",
        "Learning rate": lambda r: r.get("lr"),
        "Precision": lambda r: f"{r.get('precision')}, compile {r.get('compile')}",
        "Device": lambda r: f"{r['device']}, {r['threads']} thread{'' if r['threads'] == 1 else 's'} per run",
        "Code (git commit)": lambda r: r.get("git_commit") or "not recorded",
        "Versions": _versions,
    }
    rows += [(name, _distinct(runs, read)) for name, read in fields.items()]
    hosts = len({run.record.get("hostname") for run in runs})
    hours = sum(run.record["wall_seconds"] for run in runs) / 3600
    resumed = sum(1 for run in runs if run.record.get("resumes"))
    finished = sorted(run.record["finished_at"] for run in runs)
    rows += [
        ("Machines", str(hosts)),
        ("Time", f"{hours:.2f} hours of runs; {resumed} of {len(runs)} runs were resumed after an interruption"),
        ("Finished", finished[0] if finished[0] == finished[-1] else f"{finished[0]} to {finished[-1]}"),
    ]
    return rows


def _distinct(runs: Sequence[Run], read: Callable[[dict[str, Any]], Any]) -> str:
    return "; ".join(dict.fromkeys(str(read(run.record)) for run in runs))


def _versions(record: dict[str, Any]) -> str:
    versions = record.get("versions") or {}
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "not recorded"


def flat_rows(runs: Sequence[Run], names: Sequence[str]) -> list[dict[str, Any]]:
    """Records as flat rows with the columns ``names`` first: gaps by split, other nested values as JSON text."""
    rows = []
    for run in runs:
        row: dict[str, Any] = {name: getattr(run.expected, name) for name in names}
        for key, value in run.record.items():
            if key == "linearity":
                row |= {f"{split}_{name}": gap for split, gaps in (value or {}).items() for name, gap in gaps.items()}
            elif key not in row:
                row[key] = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        rows.append(row)
    return rows
