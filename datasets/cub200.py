"""Caltech-UCSD Birds-200-2011 (Wah, Branson, Welinder, Perona, Belongie 2011): 11,788 photos of 200 bird species, about 500x400 pixels."""

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, listing, rows


class Cub200(Published):
    """The official split: 5,994 train (29 or 30 per class) and 5,794 test images, whole images without their boxes."""

    name = "cub200"
    licence = "non-commercial research and education; the photos belong to their owners on Flickr"
    homepage = "https://www.vision.caltech.edu/datasets/cub_200_2011/"
    defects = "some test images are in ImageNet's training set, on which backbones are pre-trained; about 4 % of the labels are wrong"
    layouts = "CUB_200_2011.tgz or the folder CUB_200_2011/ with images.txt"
    keep_aspect = True
    sources = (
        Source(
            "CUB_200_2011.tgz", ("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",), "97eceeb196236b17998738112f37df78"
        ),
    )

    def official(self, place: Place) -> Listing | None:
        index = place.find("images.txt")
        if index is None:
            return None
        root = index.parent
        classes = [name for _, name in rows(root / "classes.txt", 2)]
        labels = {number: int(label) - 1 for number, label in rows(root / "image_class_labels.txt", 2)}
        in_train = {number: flag == "1" for number, flag in rows(root / "train_test_split.txt", 2)}
        items = [(number, (name, labels[number], root / "images" / name)) for number, name in rows(index, 2)]
        return listing(
            classes,
            {
                "train": [fields for number, fields in items if in_train[number]],
                "test": [fields for number, fields in items if not in_train[number]],
            },
        )
