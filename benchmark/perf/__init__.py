"""Speed, as ratios measured in one run: ``make perf``.

A list of parts comes in: steps of every method, the data path, kernels of single methods, the cost of starting runs, memory, and sweeps of
10,000 runs. Each part times its sides in turn on this machine, so that a machine whose speed drifts slows all alike, and gives rows with the
bound that is wanted of them; out go a table on the terminal and JSON under ``results/perf``.
"""
