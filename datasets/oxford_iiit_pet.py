"""Oxford-IIIT Pet (Parkhi, Vedaldi, Zisserman, Jawahar 2012): 7,349 photos of 37 cat and dog breeds."""

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, listing, rows

URL = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"


class OxfordIIITPet(Published):
    """The official split: 3,680 trainval and 3,669 test images."""

    name = "oxford_iiit_pet"
    licence = "CC BY-SA 4.0"
    homepage = "https://www.robots.ox.ac.uk/~vgg/data/pets/"
    defects = "a few files named .jpg are PNG or GIF images; they are read for what they are"
    layouts = "images/ and annotations/ (or images.tar.gz and annotations.tar.gz)"
    trainval = True
    sources = (
        Source("images.tar.gz", (URL + "images.tar.gz",), "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
        Source("annotations.tar.gz", (URL + "annotations.tar.gz",), "95a8c909bbe2e81eed6a22bccdf3f68f"),
    )

    def official(self, place: Place) -> Listing | None:
        images, index = place.find("images"), place.find("annotations/trainval.txt")
        if not (images and index):
            return None
        splits = {
            split: [(f"{name}.jpg", int(label) - 1, images / f"{name}.jpg") for name, label, _, _ in rows(index.parent / file, 4)]
            for split, file in (("train", "trainval.txt"), ("test", "test.txt"))
        }
        names = {label: key.rpartition("_")[0] for key, label, _ in splits["train"]}
        return listing([names[label] for label in sorted(names)], splits)
