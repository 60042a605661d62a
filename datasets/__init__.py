"""Data sets, the decoded cache and the batch stream.

``DATASETS`` is a table of strings: a name and the class behind it. Importing this package imports nothing else;
``datasets.stream`` alone needs torch. Adding a data set is one file and one line here.
"""

DATASETS = {
    "digits": "datasets.digits:Digits",
    "folder": "datasets.folder:Folder",
    "cifar10": "datasets.cifar10:Cifar10",
    "cub200": "datasets.cub200:Cub200",
    "stanford_cars": "datasets.stanford_cars:StanfordCars",
    "fgvc_aircraft": "datasets.fgvc_aircraft:FgvcAircraft",
}
