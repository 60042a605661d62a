"""A method's own code raises: its runs fail with the reason, and the others are done."""

from pathlib import Path

import pytest

from tests.integration.sweeping import Sweep
from tests.integration.test_cli import sweep_file

METHOD = '''"""Fine-tuning that refuses to be built."""

from methods.base import Component


class M(Component):
    """Broken."""

    def __init__(self, *, w: float = 1.0) -> None:
        {line}
'''

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('raise ValueError("w must not be positive")', "ValueError: w must not be positive"),
        ("self.x = None < w", "TypeError: '<' not supported"),
        ("raise SystemExit(7)", "SystemExit: 7"),
        ("raise ValueError('no such files: [/data/a, /data/b]')", "ValueError: no such files: [/data/a, /data/b]"),
        ("raise ValueError('photo [final].jpg \\x1b[2J')", "ValueError: photo [final].jpg \\x1b[2J"),
    ],
)
def test_a_constructor_that_raises_fails_its_runs_alone(line: str, reason: str, images: Path, backbone: str, tmp_path: Path) -> None:
    (tmp_path / "strict.py").write_text(METHOD.format(line=line))
    methods = ["fine_tuning", "strict:M"]
    sweep = Sweep(sweep_file(tmp_path, images, backbone, methods=methods, seeds=1), tmp_path, workers=1, PYTHONPATH=str(tmp_path))
    sweep._environment["PYTHONPATH"] += f":{Path(__file__).resolve().parents[2]}"
    assert sweep.finish() == 1, sweep.shown
    assert sorted(sweep.states()) == ["done", "failed"]
    assert "workers die" not in sweep.shown
    assert reason in sweep.shown
    assert "report.html" in sweep.shown
