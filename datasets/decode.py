"""From stored bytes to resized pixels, one image at a time or in chunks over several processes."""

import collections
import hashlib
import itertools
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, cast

from PIL import Image, ImageOps

from datasets.base import DataError, DataSet, Item, to_rgb, transparent, unreadable

CHUNK = 128
"""Images per task."""

MAX_PIXELS = 1 << 24
"""Of one resized image: a file of a few bytes can be 30,000 times as long as it is wide."""

ORIENTATION = 0x0112
"""The EXIF tag; 1 is upright."""

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


class Seen(NamedTuple):
    """What decoding saw of one image.

    content, pixels: sha256 of the stored bytes and of the decoded ones. size: height and width. turned: it carries an EXIF orientation
    that was not followed. deepest: the largest value of 16-bit grey, else None. transparent: it was laid on white.
    """

    content: str
    pixels: str
    size: tuple[int, int]
    turned: bool
    deepest: int | None
    transparent: bool


class Chunk(NamedTuple):
    """Decoded images in order."""

    pixels: list[bytes]
    seen: list[Seen]


def resized_size(width: int, height: int, decode: Decode) -> tuple[int, int]:
    """(width, height) that torchvision's ``Resize`` gives: the longer side is cut down to an integer, not rounded."""
    if not decode.keep_aspect:
        return decode.resize, decode.resize
    longer = int(decode.resize * max(width, height) / min(width, height))
    if longer * decode.resize > MAX_PIXELS:
        raise ValueError(f"of {width}x{height} pixels, its longer side would become {longer}; cut it, or do not keep the aspect ratio")
    return (decode.resize, longer) if width <= height else (longer, decode.resize)


def decode_image(image: Image.Image, decode: Decode) -> Image.Image:
    """An opened image as RGB, equal to ``Resize`` of its RGB form."""
    if decode.fast_decode:
        image.draft(None, resized_size(*image.size, decode))
    if decode.exif:
        image = ImageOps.exif_transpose(image)
    return to_rgb(image).resize(resized_size(*image.size, decode), Image.Resampling.BILINEAR)


def decode_items(dataset: DataSet, items: Sequence[Item], decode: Decode) -> Chunk:
    """Decode ``items`` here. What Pillow warns of (damaged tags of whole images) is not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decoded = [_decode_item(dataset, item, decode) for item in items]
    return Chunk([pixels for pixels, _ in decoded], [seen for _, seen in decoded])


def _decode_item(dataset: DataSet, item: Item, decode: Decode) -> tuple[bytes, Seen]:
    try:
        content = dataset.content(item)
        opened = dataset.decode(content)
        image = decode_image(opened, decode)
        pixels = image.tobytes()
        hashes = hashlib.sha256(content).hexdigest(), hashlib.sha256(pixels).hexdigest()
        turned = not decode.exif and orientation(opened) > 1
        deepest = int(cast(tuple[int, int], opened.getextrema())[1]) if opened.mode.startswith("I") else None
        return pixels, Seen(*hashes, (image.height, image.width), turned, deepest, transparent(opened))
    except Exception as error:
        raise unreadable(item, error) from error


def orientation(image: Image.Image) -> int:
    """The orientation that a camera recorded, 1 where it recorded none that can be read."""
    if "exif" not in image.info:
        return 1
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged tag block stops no image whose pixels are whole
        return 1
    return found if found in range(1, 9) else 1


def chunks(dataset: DataSet, items: Sequence[Item], decode: Decode, workers: int) -> Iterator[Chunk]:
    """Decode ``items`` in order, by this process or by ``workers`` others; a bounded number of chunks is in memory."""
    return _shared_out(decode_items, dataset, items, decode, workers, CHUNK)


def readable(items: Sequence[Item], decode: Decode, workers: int, size: int) -> Iterator[list[tuple[bytes, tuple[int, int]] | DataError]]:
    """Pixels and (height, width) of image files, in order, ``size`` at a time; in the place of one that cannot be read the error."""
    return _shared_out(_try_items, DataSet(), items, decode, workers, size)


def _try_items(dataset: DataSet, items: Sequence[Item], decode: Decode) -> list[tuple[bytes, tuple[int, int]] | DataError]:
    found: list[tuple[bytes, tuple[int, int]] | DataError] = []
    for item in items:
        try:
            (pixels,), (seen,) = decode_items(dataset, [item], decode)
        except DataError as error:
            found.append(error)
        else:
            found.append((pixels, seen.size))
    return found


Made = TypeVar("Made")


def _shared_out(
    work: Callable[[DataSet, Sequence[Item], Decode], Made],
    dataset: DataSet,
    items: Sequence[Item],
    decode: Decode,
    workers: int,
    size: int,
) -> Iterator[Made]:
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    if workers <= 1 or len(parts) == 1:
        yield from (work(dataset, part, decode) for part in parts)
        return
    # Spawned, not forked: the caller may hold threads (torch, a progress bar) whose locks a fork would copy in a locked state.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(parts)), mp_context=context, initializer=_end_with_parent) as pool:
        waiting = iter(parts)
        running = collections.deque(pool.submit(work, dataset, part, decode) for part in itertools.islice(waiting, 3 * workers))
        try:
            while running:
                yield running.popleft().result()
                running.extend(pool.submit(work, dataset, part, decode) for part in itertools.islice(waiting, 1))
        except BrokenProcessPool as error:
            raise DataError("a decoding process was killed (out of memory?); fewer workers need less of it") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """A decoding process whose parent is killed would wait for its next task for ever."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
