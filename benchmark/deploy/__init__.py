"""A trained network, taken away from the suite: exported as timm and onnxruntime load it, and asked for the labels of images.

In come the folder of a finished run that kept its weights, or an exported folder, and image files; out go a folder in timm's own
convention, and rows of predictions. Nothing here trains, and no data set needs to be there.
"""
