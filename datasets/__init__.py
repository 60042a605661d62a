"""Data sets, the decoded cache and the batch stream.

``DATASETS`` is a table of strings: a name and the class behind it. Importing this package imports nothing else;
``datasets.stream`` alone needs torch. Adding a data set is one file and one line here.
"""

DATASETS = {
    "digits": "datasets.digits:Digits",
    "folder": "datasets.folder:Folder",
    "csv": "datasets.listed:Listed",
    "cifar10": "datasets.cifar10:Cifar10",
    "cub200": "datasets.cub200:Cub200",
    "stanford_cars": "datasets.stanford_cars:StanfordCars",
    "fgvc_aircraft": "datasets.fgvc_aircraft:FgvcAircraft",
    "stanford_dogs": "datasets.stanford_dogs:StanfordDogs",
    "flowers102": "datasets.flowers102:Flowers102",
    "oxford_iiit_pet": "datasets.oxford_iiit_pet:OxfordIIITPet",
    "food101": "datasets.food101:Food101",
    "dtd": "datasets.dtd:Dtd",
    "caltech101": "datasets.caltech101:Caltech101",
    "caltech256": "datasets.caltech256:Caltech256",
    "sun397": "datasets.sun397:Sun397",
    "mit_indoor67": "datasets.mit_indoor67:MitIndoor67",
    "cifar100": "datasets.cifar100:Cifar100",
    "eurosat": "datasets.eurosat:EuroSat",
}
