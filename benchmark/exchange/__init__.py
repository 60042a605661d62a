"""Results that leave the machine that made them: archives, one sweep out of several folders, frames for Python.

In come results folders of ``storage``, or archives of them. ``pack`` makes one archive of finished runs, and opens one; ``merge`` brings
the runs of several folders and archives into one sweep, naming what is not whole or does not fit, and in what two folders of one run
differ (:mod:`conflicts`); ``loading`` gives the records of one folder as pandas frames. Nothing here imports torch.
"""
