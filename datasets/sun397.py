"""SUN397 (Xiao, Hays, Ehinger, Oliva, Torralba 2010): 108,754 photos of 397 kinds of scene, at least 100 of each."""

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, by_folder, lines


class Sun397(Published):
    """The first of ten official partitions: 50 train and 50 test images per class."""

    name = "sun397"
    licence = "none stated by the authors"
    homepage = "https://vision.princeton.edu/projects/2010/SUN/"
    defects = "the archive is 37 GB; a partition leaves 69,054 of the images unused; published numbers often average ten, this is the first"
    layouts = "SUN397/ (or SUN397.tar.gz) with Training_01.txt and Testing_01.txt (or Partitions.zip)"
    max_bytes = 64 << 30
    sources = (
        Source("SUN397.tar.gz", ("http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",), "8ca2778205c41d23104230ba66911c7a"),
        Source("Partitions.zip", ("https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip",)),
    )

    def official(self, place: Place) -> Listing | None:
        index, first = place.find("Training_01.txt"), place.find("SUN397/a")
        if not (index and first):
            return None
        files = {"train": index, "test": index.parent / "Testing_01.txt"}
        return by_folder(first.parent, {split: [line.lstrip("/") for line in lines(file)] for split, file in files.items()})
