"""Caltech-101 (Fei-Fei, Fergus, Perona 2004): 8,677 images of 101 object classes, 31 to 800 of each."""

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, by_folder, first_of_each_class

PER_CLASS = 30


class Caltech101(Published):
    """There is no official split. Ours: of each class, the 30 images whose keys have the lowest sha256 train, all others test."""

    name = "caltech101"
    licence = "CC BY 4.0"
    homepage = "https://data.caltech.edu/records/mzrjq-6wc02"
    defects = "no official split; Faces and Faces_easy hold the same faces; BACKGROUND_Google is no class and is left out"
    layouts = "caltech-101.zip, 101_ObjectCategories.tar.gz or the folder 101_ObjectCategories/"
    sources = (
        Source(
            "caltech-101.zip", ("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",), "3138e1922a9193bfa496528edbbc45d0"
        ),
        Source("101_ObjectCategories.tar.gz"),
    )

    def official(self, place: Place) -> Listing | None:
        root = place.find("101_ObjectCategories")
        if root is None:
            return None
        keys = [f"{path.parent.name}/{path.name}" for path in root.glob("[!.]*/[!.]*.jpg") if path.parent.name != "BACKGROUND_Google"]
        return by_folder(root, first_of_each_class(keys, lambda n: PER_CLASS))
