"""The trained network as ONNX, compared with the original by onnxruntime. Needs the extra ``onnx``."""

import importlib.util
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmark.errors import UsageError, first_line

FILE, INPUT, OUTPUT = "model.onnx", "pixels", "logits"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4
"""Of probabilities."""


def check_installed() -> None:
    """Refuse ``--onnx`` where a package of the extra is missing."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise UsageError(f"--onnx: {', '.join(missing)} not installed; run: pip install 'smilebench[onnx]'")


def write(net: nn.Module, size: int, folder: Path) -> None:
    """Write ``net``, in eval mode, as ``model.onnx`` for any batch size at ``size`` pixels; UsageError where it does not convert.

    onnxruntime gives the same probabilities as torch within TOLERANCE, for a batch of another size than the one that was traced.
    """
    import onnxruntime

    generator = torch.Generator().manual_seed(0)
    example, x = (torch.randn(n, 3, size, size, generator=generator) for n in (2, 5))
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), _exportable_numerics():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net,
                (example,),
                folder / FILE,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        session = onnxruntime.InferenceSession(str(folder / FILE), providers=["CPUExecutionProvider"])
        (found,) = session.run([OUTPUT], {INPUT: x.numpy()})
    except Exception as error:  # the exporter has many of its own
        raise UsageError(f"--onnx: this network does not convert: {first_line(error)}; export it without --onnx") from error
    with torch.inference_mode():
        expected = torch.softmax(net(x), dim=1).numpy()
    worst = np.abs(torch.softmax(torch.from_numpy(found), dim=1).numpy() - expected).max()
    if worst > TOLERANCE:
        raise UsageError(f"--onnx: onnxruntime gives other probabilities, by up to {worst:.1g}; export it without --onnx")


@contextmanager
def _exportable_numerics() -> Iterator[None]:
    """Within, cuDNN's precision is as torch starts up: its exporter fails at any other, on a CPU too, where it means nothing."""
    kinds: list[Any] = [torch.backends.cudnn.conv, torch.backends.cudnn.rnn]  # type: ignore[attr-defined]
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "tf32"
    try:
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision
