"""Caltech-256 (Griffin, Holub, Perona 2007): 29,780 images of 256 object classes, 80 to 827 of each."""

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, by_folder, first_of_each_class

PER_CLASS = 60


class Caltech256(Published):
    """There is no official split. Ours: of each class, the 60 images whose keys have the lowest sha256 train, all others test."""

    name = "caltech256"
    licence = "CC BY 4.0"
    homepage = "https://data.caltech.edu/records/nyy15-4j048"
    defects = "no official split; 257.clutter is no class and is left out, as is the stray folder inside 056.dog"
    layouts = "256_ObjectCategories.tar or the folder 256_ObjectCategories/"
    sources = (
        Source(
            "256_ObjectCategories.tar",
            ("https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",),
            "67b4f42ca05d46448c6bb8ecd2220f6d",
        ),
    )

    def official(self, place: Place) -> Listing | None:
        root = place.find("256_ObjectCategories")
        if root is None:
            return None
        keys = [f"{path.parent.name}/{path.name}" for path in root.glob("[!.]*/[!.]*.jpg") if path.parent.name != "257.clutter"]
        return by_folder(root, first_of_each_class(keys, lambda n: PER_CLASS))
