"""What decoding all images of a data set shows, and no single image does: said when it is prepared, and kept with the decoded copy."""

from collections.abc import Iterable, Sequence

from datasets.base import Item
from datasets.decode import Seen

Found = Sequence[tuple[str, Item, Seen]]
"""The name of its split, the item, and what decoding saw of it, for every image."""


def findings(found: Found) -> list[str]:
    """In sentences; empty where there is nothing to say."""
    return [*_turned(found), *_transparent(found), *_dark(found), *_in_two_splits(found), *_in_two_classes(found)]


def _turned(found: Found) -> Iterable[str]:
    turned = [_name(split, item) for split, item, seen in found if seen.turned]
    if turned:
        yield f"{len(turned)} images carry an EXIF orientation that is not followed, among them {turned[0]}; data.exif: true turns them"


def _transparent(found: Found) -> Iterable[str]:
    laid = [_name(split, item) for split, item, seen in found if seen.transparent]
    if laid:
        yield f"{len(laid)} images are transparent in places and are shown on white, among them {laid[0]}"


def _dark(found: Found) -> Iterable[str]:
    """16-bit grey keeps its upper 8 bits: 12-bit values, as scanners write them, become 16 shades near black."""
    deep = [(seen.deepest, _name(split, item)) for split, item, seen in found if seen.deepest is not None]
    top = max((value for value, _ in deep), default=0)
    # Where no image reaches the upper half all are darkened; else those of 12 bits and less are the odd ones.
    dark = [(value, name) for value, name in deep if value < (1 << 15 if top < 1 << 15 else 1 << 12)]
    if dark:
        value, name = max(dark)
        yield (
            f"{len(dark)} of {len(deep)} images of 16-bit grey hold no value above {value} (as {name}) of 65535, and become dark: 16-bit "
            f"values are divided by 256; rescale them to the whole range first"
        )


def _in_two_splits(found: Found) -> Iterable[str]:
    train = {seen.content: item.key for split, item, seen in found if split == "train"}
    for name in dict.fromkeys(split for split, _, _ in found if split != "train"):
        twice = [(item.key, train[seen.content]) for split, item, seen in found if split == name and seen.content in train]
        if twice:
            key, other = twice[0]
            yield f"{len(twice)} images of {name} are in train too, among them {name}/{key} (train/{other})"


def _in_two_classes(found: Found) -> Iterable[str]:
    first: dict[str, tuple[int, str]] = {}
    twice = []
    for split, item, seen in found:
        label, name = first.setdefault(seen.content, (item.label, _name(split, item)))
        if label != item.label:
            twice.append((name, _name(split, item)))
    if twice:
        yield f"{len(twice)} images are in two classes, among them {twice[0][0]} and {twice[0][1]}"


def _name(split: str, item: Item) -> str:
    return f"{split}/{item.key}"
