"""The examples beside the documentation run as they are, and the site is built without a warning."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"


def test_the_package_holds_the_method_of_the_walk_through() -> None:
    page = (ROOT / "docs" / "adding_a_method.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python mypkg/hint\.py\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    assert (EXAMPLES / "hint" / "hint" / "__init__.py").read_text(encoding="utf-8") == block


@pytest.mark.slow
def test_the_method_of_another_package_trains_and_the_notebook_draws_its_sweep(tmp_path: Path) -> None:
    file = tmp_path / "hint.yaml"
    file.write_text(
        "name: hint\nbackbone: efficientnet_lite0\ndatasets: [digits]\nfractions: [0.05]\nseeds: 2\nbaseline: fine_tuning\n"
        'methods: [fine_tuning, "hint:Hint"]\ntraining: {steps: 3, batch_size: 8, image_size: 32}\nlinearity: {pairs: 8, lambdas: 3}\n'
        "data: {test_images: 50}\nruntime: {device: cpu}\n"
    )
    out = tmp_path / "results"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES / "hint"), str(ROOT)]), "MPLBACKEND": "agg"}
    command = [sys.executable, "-m", "benchmark", "sweep", str(file), "--out", str(out)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((EXAMPLES / "linearity.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    environment["SWEEP_FOLDER"] = str(out)
    drawn = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert drawn.returncode == 0, drawn.stderr
    assert (out / "linearity_notebook.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "DISABLE_MKDOCS_2_WARNING": "true"}, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tmp_path / "methods" / "smile.html").read_text(encoding="utf-8")
    assert "<math" in page
    assert "\\lambda" not in page
