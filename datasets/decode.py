"""From stored bytes to resized pixels, one image at a time or in chunks over several processes."""

import collections
import hashlib
import itertools
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, ImageOps

from datasets.base import DataError, DataSet, Item, to_rgb, unreadable

CHUNK = 128
"""Images per task."""

FAST_DECODE_ERROR = 4.0
"""Mean absolute difference of an image's pixel values, of 255."""


@dataclass(frozen=True)
class Decode:
    """How an image becomes pixels; part of the data's hash.

    resize: pixels, of the shorter side if ``keep_aspect``, else of both sides. fast_decode: let the JPEG decoder shrink by a power of two
    first (a photo's pixels differ by less than FAST_DECODE_ERROR on average). exif: rotate as the camera recorded.
    """

    resize: int
    keep_aspect: bool
    fast_decode: bool = False
    exif: bool = False


class Chunk(NamedTuple):
    """Decoded images in order: pixels, (height, width) of each, sha256 of each one's stored bytes."""

    pixels: list[bytes]
    sizes: list[tuple[int, int]]
    hashes: list[str]


def resized_size(width: int, height: int, decode: Decode) -> tuple[int, int]:
    """(width, height) that torchvision's ``Resize`` gives: the longer side is cut down to an integer, not rounded."""
    if not decode.keep_aspect:
        return decode.resize, decode.resize
    if width <= height:
        return decode.resize, int(decode.resize * height / width)
    return int(decode.resize * width / height), decode.resize


def decode_image(image: Image.Image, decode: Decode) -> Image.Image:
    """An opened image as RGB, equal to ``Resize`` of its RGB form."""
    if decode.fast_decode:
        image.draft(None, resized_size(*image.size, decode))
    if decode.exif:
        image = ImageOps.exif_transpose(image)
    return to_rgb(image).resize(resized_size(*image.size, decode), Image.Resampling.BILINEAR)


def decode_items(dataset: DataSet, items: Sequence[Item], decode: Decode) -> Chunk:
    """Decode ``items`` here."""
    pixels, sizes, hashes = [], [], []
    for item in items:
        try:
            content = dataset.content(item)
            image = decode_image(dataset.decode(content), decode)
        except Exception as error:
            raise unreadable(item, error) from error
        pixels.append(image.tobytes())
        sizes.append((image.height, image.width))
        hashes.append(hashlib.sha256(content).hexdigest())
    return Chunk(pixels, sizes, hashes)


def chunks(dataset: DataSet, items: Sequence[Item], decode: Decode, workers: int) -> Iterator[Chunk]:
    """Decode ``items`` in order, by this process or by ``workers`` others; a bounded number of chunks is in memory."""
    parts = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    if workers <= 1 or len(parts) == 1:
        yield from (decode_items(dataset, part, decode) for part in parts)
        return
    # Spawned, not forked: the caller may hold threads (torch, a progress bar) whose locks a fork would copy in a locked state.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(parts)), mp_context=context, initializer=_end_with_parent) as pool:
        waiting = iter(parts)
        running = collections.deque(pool.submit(decode_items, dataset, part, decode) for part in itertools.islice(waiting, 3 * workers))
        try:
            while running:
                yield running.popleft().result()
                running.extend(pool.submit(decode_items, dataset, part, decode) for part in itertools.islice(waiting, 1))
        except BrokenProcessPool as error:
            raise DataError("a decoding process was killed (out of memory?); prepare with fewer workers") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """A decoding process whose parent is killed would wait for its next task for ever."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
