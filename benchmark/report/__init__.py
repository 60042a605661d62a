"""The report of a sweep, drawn from its records alone.

In come the run folders of ``storage`` and the runs that the sweep asks for, as plain data (:mod:`collect`). They are grouped into
cells with their statistics (:mod:`cells`, :mod:`intervals`, :mod:`across`), which become tables (:mod:`tables`, :mod:`overview`,
:mod:`optimism`; written by :mod:`text`), sentences (:mod:`summary`), figures (:mod:`figures`, styled by :mod:`style`) and one page
(:mod:`page`). :mod:`build` decides whether anything has to be drawn again, :mod:`redraw` draws it; :mod:`explain` tells what is behind
one cell. Nothing here imports torch, a method, a data set or a config.
"""
