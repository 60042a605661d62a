"""Speed, as ratios measured in one run: ``make perf``.

In come settings of this room alone: random weights and generated images, in a cache of its own. Out go rows of a table per part (data path,
steps, kernels, overhead, threads and memory, scale, and on a GPU the loop against its ceiling), printed and kept as JSON under
``results/perf``, one file per part, so that a measurement that was cut short goes on. Other rooms import nothing from here.
"""
