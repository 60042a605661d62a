"""Published numbers, each with what has to be known before anything is compared with it: ``results/published/*.yaml``.

``null`` says that a fact is not known here; it is never guessed. They are numbers whose source could be read, and no others.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from benchmark.config.run_config import Section, validate
from benchmark.errors import UsageError
from benchmark.storage import yamlio

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"


class PublishedNumber(Section):
    """One published number. value, plus_minus: percent. n: seeds behind it. selection: what it is of. source: paper, table or issue.

    dataset, method: names in this suite, a method's variant where that is what was run; published_as: the method's name there.
    """

    value: Annotated[float, Field(ge=0, le=100)]
    plus_minus: Annotated[float, Field(ge=0)] | None
    n: Annotated[int, Field(ge=1)] | None
    metric: Literal["top1", "mean_per_class"]
    dataset: str
    fraction: Annotated[float, Field(gt=0, le=1)]
    backbone: str | None
    protocol: str | None
    selection: Literal["best_epoch_on_test", "best_epoch_on_val", "last_epoch", "median_of_last_epochs"] | None
    method: str
    published_as: str
    source: str
    note: str | None


class PublishedFile(Section):
    """A file of published numbers: ``common`` keys are those of every entry that does not give its own."""

    common: dict[str, Any] = {}
    entries: Annotated[list[dict[str, Any]], Field(min_length=1)]


def load(folder: Path = PUBLISHED) -> list[PublishedNumber]:
    """Every entry, in the order of the files' names; a number given twice by one source is refused: two tables of
    one publication that disagree are two sources, each named as its table."""
    found: list[PublishedNumber] = []
    for path in sorted(folder.glob("*.yaml")):
        file = validate(PublishedFile, yamlio.read(path), str(path))
        for n, entry in enumerate(file.entries):
            found.append(validate(PublishedNumber, {**file.common, **entry}, str(path), f"entries.{n}"))
    keys = [(e.source, e.dataset, e.fraction, e.method, e.backbone, e.selection, e.metric) for e in found]
    for key, count in Counter(keys).items():
        if count > 1:
            raise UsageError(f"{folder}: {key[0]} gives {key[3]} on {key[1]} at {key[2]:g} twice")
    return found
