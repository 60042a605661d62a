"""Stanford Dogs (Khosla, Jayadevaprakash, Yao, Fei-Fei 2011): 20,580 photos of 120 dog breeds."""

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, listing, matlab


class StanfordDogs(Published):
    """The official split: 12,000 train (100 per class) and 8,580 test images, whole images without their boxes."""

    name = "stanford_dogs"
    licence = "ImageNet's terms: non-commercial research and education"
    homepage = "http://vision.stanford.edu/aditya86/ImageNetDogs/"
    defects = "the photos are ImageNet's, so a backbone trained on ImageNet has seen test images with their labels"
    layouts = "Images/ (or images.tar) with train_list.mat and test_list.mat (or lists.tar)"
    sources = (
        Source("images.tar", ("http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar",)),
        Source("lists.tar", ("http://vision.stanford.edu/aditya86/ImageNetDogs/lists.tar",)),
    )

    def official(self, place: Place) -> Listing | None:
        images, index = place.find("Images"), place.find("train_list.mat")
        if not (images and index):
            return None
        splits = {}
        for split in ("train", "test"):
            table = matlab(index.parent / f"{split}_list.mat")
            splits[split] = [
                (str(key), int(label) - 1, images / str(key)) for key, label in zip(table["file_list"], table["labels"], strict=True)
            ]
        names = {label: key.partition("/")[0] for key, label, _ in splits["train"]}
        return listing([names[label] for label in sorted(names)], splits)
