"""Hyper-parameters chosen on validation images, with the same budget for every method.

A sweep file's ``tune`` block comes in. ``trials`` makes ordinary runs of it that never open ``test``, ``search`` carries them out and draws
what each budget would have found, ``freeze`` chooses the winners; ``selection.json``, with the hashes of all records used, goes out.
"""
