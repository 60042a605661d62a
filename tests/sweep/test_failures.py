import errno

import pytest

from benchmark.errors import UsageError
from benchmark.sweep.failures import describe


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


class Diverged(RuntimeError):
    pass


def chained(cause: Exception, error: Exception) -> Exception:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (Diverged("loss is not finite at step 7"), "nan", "loss is not finite at step 7"),
        (OutOfMemoryError("CUDA out of memory"), "out_of_memory", "OutOfMemoryError: CUDA out of memory"),
        (MemoryError(), "out_of_memory", "MemoryError: no message"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "out_of_memory",
            "RuntimeError: DefaultCPUAllocator: can't allocate memory",
        ),
        (OSError(errno.EDQUOT, "Quota exceeded"), "disk_full", f"OSError: [Errno {errno.EDQUOT}] Quota exceeded"),
        (OSError(errno.EROFS, "Read-only file system"), "read_only", f"OSError: [Errno {errno.EROFS}] Read-only file system"),
        (RuntimeError("CUDA error: out of memory"), "out_of_memory", "RuntimeError: CUDA error: out of memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
            "out_of_memory",
            "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate",
        ),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
            "out_of_memory",
            "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        ),
        (RuntimeError("CUDA error: an illegal memory access"), "device", "RuntimeError: CUDA error: an illegal memory access"),
        (ValueError("the option says out of memory"), "error", "ValueError: the option says out of memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_memory", f"OSError: [Errno {errno.ENOMEM}] Cannot allocate memory"),
        (OSError(errno.EIO, "I/O error"), "disk", f"OSError: [Errno {errno.EIO}] I/O error"),
        (chained(OSError(errno.ENOSPC, "No space"), RuntimeError("write failed")), "disk_full", "RuntimeError: write failed"),
        (UsageError("no such thing"), "error", "no such thing"),
        (KeyError("x"), "error", "KeyError: 'x'"),
    ],
)
def test_a_failure_is_described_for_a_table(error, kind, reason):
    described = describe(error)
    assert (described["kind"], described["reason"]) == (kind, reason)
    assert type(error).__name__ in described["traceback"]


def test_an_exception_that_cannot_be_told_is_told():
    class Mute(Exception):
        def __str__(self) -> str:
            raise TypeError

    described = describe(Mute())
    assert (described["kind"], described["reason"]) == ("error", "Mute: no message")
