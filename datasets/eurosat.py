"""EuroSAT, RGB (Helber, Bischke, Dengel, Borth 2019): 27,000 Sentinel-2 tiles of 64x64 pixels, 10 kinds of land use."""

import math

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, by_folder, first_of_each_class

TRAIN_SHARE = 0.8


class EuroSat(Published):
    """There is no official split. Ours: of each class, the 80 % of images whose keys have the lowest sha256 train, the others test."""

    name = "eurosat"
    licence = "MIT"
    homepage = "https://github.com/phelber/EuroSAT"
    defects = "no official split; tiles of one place can lie in both splits"
    layouts = "EuroSAT.zip or its folder 2750/"
    sources = (
        Source(
            "EuroSAT.zip",
            (
                "https://madm.dfki.de/files/sentinel/EuroSAT.zip",
                "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
            ),
            "c8fa014336c82ac7804f0398fcb19387",
        ),
    )

    def official(self, place: Place) -> Listing | None:
        first = place.find("AnnualCrop/*.jpg")
        if first is None or first.parent.parent.name in ("train", "val", "test"):
            return None
        root = first.parent.parent
        keys = [f"{path.parent.name}/{path.name}" for path in root.glob("[!.]*/[!.]*.jpg")]
        return by_folder(root, first_of_each_class(keys, lambda n: math.floor(TRAIN_SHARE * n)))
