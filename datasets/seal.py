"""While a network trains, no code of its process opens the ``test`` split: not the loop, and no method, whatever it imports.

Every way through :mod:`datasets` is closed. Code that reads the files behind it by their paths is beyond what a process can promise.
"""

from collections.abc import Iterator
from contextlib import contextmanager

_open_seals = 0
"""Of the whole process, not of one thread: a method's threads are held to it as well."""


class SealedError(RuntimeError):
    """Training code asked for ``test``."""


@contextmanager
def sealed() -> Iterator[None]:
    """Inside the block, opening ``test`` raises :class:`SealedError`."""
    global _open_seals
    _open_seals += 1
    try:
        yield
    finally:
        _open_seals -= 1


def check(split: str) -> None:
    """Raise :class:`SealedError` where ``split`` is ``test`` and a network trains."""
    if split == "test" and _open_seals:
        raise SealedError("split 'test' is closed while a network trains; it is evaluated once, after the last step")
