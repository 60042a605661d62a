"""Results that leave the machine that made them: archives, one sweep out of several folders, frames for Python.

In come results folders of ``storage``, or archives of them. ``pack`` makes one archive of finished runs; ``merge`` brings the runs of
several folders and archives into one sweep, comparing equal runs (:mod:`same_run`) and naming what does not fit or is not whole
(:mod:`whole_run`); ``loading`` gives the records of one folder as pandas frames. :mod:`folders` is what they share: which files of a run
mean something elsewhere. Nothing here imports torch.
"""
