"""MIT Indoor Scenes (Quattoni, Torralba 2009): 15,620 photos of 67 kinds of room, at least 100 of each."""

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, by_folder, lines


class MitIndoor67(Published):
    """The official lists: 5,360 train and 1,340 test images, about 80 and 20 per class; the other photos are not used."""

    name = "mit_indoor67"
    licence = "none stated; the photos come from many owners, for research"
    homepage = "https://web.mit.edu/torralba/www/indoor.html"
    defects = "several files named .jpg are GIF or PNG images, and a few are grey; they are read for what they are"
    layouts = "Images/ (or indoorCVPR_09.tar) with TrainImages.txt and TestImages.txt"
    sources = (
        Source("indoorCVPR_09.tar", ("http://groups.csail.mit.edu/vision/LabelMe/NewImages/indoorCVPR_09.tar",)),
        Source("TrainImages.txt", ("https://web.mit.edu/torralba/www/TrainImages.txt",)),
        Source("TestImages.txt", ("https://web.mit.edu/torralba/www/TestImages.txt",)),
    )

    def official(self, place: Place) -> Listing | None:
        images, index = place.find("Images"), place.find("TrainImages.txt")
        if not (images and index):
            return None
        return by_folder(images, {"train": lines(index), "test": lines(index.parent / "TestImages.txt")})
