"""FGVC-Aircraft (Maji, Kannala, Rahtu, Blaschko, Vedaldi 2013): 10,000 photos of 100 aircraft variants, 100 of each."""

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, lines, listing, rows


class FgvcAircraft(Published):
    """Published protocols train on ``trainval`` (6,667 images, the official train and val joined) and test on 3,333; so does this."""

    name = "fgvc_aircraft"
    licence = "non-commercial research only"
    homepage = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/"
    defects = "the lowest 20 pixel rows of each photo name its owner; they are kept, as in published work"
    layouts = "fgvc-aircraft-2013b.tar.gz or its folder with data/images_variant_trainval.txt"
    trainval = True
    sources = (
        Source("fgvc-aircraft-2013b.tar.gz", ("https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",)),
    )

    def official(self, place: Place) -> Listing | None:
        index = place.find("images_variant_trainval.txt")
        if index is None:
            return None
        files = {"train": index, "test": index.parent / "images_variant_test.txt"}
        label = {name: number for number, name in enumerate(lines(index.parent / "variants.txt"))}
        images = index.parent / "images"
        return listing(
            label,
            {
                split: [(f"{number}.jpg", label[name], images / f"{number}.jpg") for number, name in rows(file, 2)]
                for split, file in files.items()
            },
        )
