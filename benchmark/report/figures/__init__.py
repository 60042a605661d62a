"""The figures of a report: one file per kind of figure, drawn with seaborn on the style of :mod:`benchmark.report.style`.

In come groups of cells and the looks of the methods, out go drawings with their words; :mod:`write` writes them as PNG and SVG.
"""
