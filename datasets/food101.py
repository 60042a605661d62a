"""Food-101 (Bossard, Guillaumin, Van Gool 2014): 101,000 photos of 101 dishes, 1,000 of each, at most 512 pixels a side."""

import json

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, listing


class Food101(Published):
    """The official split: 750 train and 250 test images per class."""

    name = "food101"
    licence = "none stated; the photos belong to the users of Foodspotting"
    homepage = "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/"
    defects = "the labels of train are noisy on purpose; only test was cleaned"
    layouts = "food-101.tar.gz or its folder with meta/train.json"
    sources = (Source("food-101.tar.gz", ("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",), "85eeb15f3717b99a5da872d97d918f87"),)

    def official(self, place: Place) -> Listing | None:
        index = place.find("meta/train.json")
        if index is None:
            return None
        root = index.parent.parent
        lists = {split: json.loads((root / "meta" / f"{split}.json").read_text(encoding="utf-8")) for split in ("train", "test")}
        classes = sorted(lists["train"])
        return listing(
            classes,
            {
                split: [
                    (f"{key}.jpg", label, root / "images" / f"{key}.jpg") for label, name in enumerate(classes) for key in by_class[name]
                ]
                for split, by_class in lists.items()
            },
        )
