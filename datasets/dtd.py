"""Describable Textures (Cimpoi, Maji, Kokkinos, Mohamed, Vedaldi 2014): 5,640 images of 47 textures, 120 of each."""

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, by_folder, lines


class Dtd(Published):
    """The first of ten official partitions: 40 train, 40 val and 40 test images per class."""

    name = "dtd"
    licence = "research only"
    homepage = "https://www.robots.ox.ac.uk/~vgg/data/dtd/"
    defects = "many images show several textures, but have one label; published numbers often average ten partitions, this is the first"
    layouts = "dtd-r1.0.1.tar.gz or its folder dtd/ with labels/train1.txt"
    sources = (
        Source(
            "dtd-r1.0.1.tar.gz",
            ("https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",),
            "fff73e5086ae6bdbea199a49dfb8a4c1",
        ),
    )

    def official(self, place: Place) -> Listing | None:
        index = place.find("labels/train1.txt")
        if index is None:
            return None
        keys = {split: lines(index.parent / f"{split}1.txt") for split in ("train", "val", "test")}
        return by_folder(index.parent.parent / "images", keys)
