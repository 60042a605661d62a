"""Oxford Flowers 102 (Nilsback, Zisserman 2008): 8,189 photos of 102 flower species; the release names classes by number alone."""

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, listing, matlab

SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}
URL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"


class Flowers102(Published):
    """The official split: 1,020 train and 1,020 val images (10 per class each), 6,149 test images."""

    name = "flowers102"
    licence = "none stated by the authors"
    homepage = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
    defects = "test is six times train; part of the published work trains on train and val together, which this does not"
    layouts = "jpg/ (or 102flowers.tgz) with imagelabels.mat and setid.mat"
    sources = (
        Source("102flowers.tgz", (URL + "102flowers.tgz",), "52808999861908f626f3c1f4e79d11fa"),
        Source("imagelabels.mat", (URL + "imagelabels.mat",), "e0620be6f572b9609742df49c70aed4d"),
        Source("setid.mat", (URL + "setid.mat",), "a5357ecc9cb78c4bef273ce3793fc85c"),
    )

    def official(self, place: Place) -> Listing | None:
        images, labels, index = place.find("jpg"), place.find("imagelabels.mat"), place.find("setid.mat")
        if not (images and labels and index):
            return None
        label = matlab(labels)["labels"]
        ids = matlab(index)
        splits = {
            split: [(f"image_{n:05d}.jpg", int(label[n - 1]) - 1, images / f"image_{n:05d}.jpg") for n in ids[name]]
            for split, name in SPLITS.items()
        }
        return listing([str(n) for n in range(1, int(label.max()) + 1)], splits)
