"""Sweeps on a cluster: everything but the one call that submits (:mod:`benchmark.sweep.slurm`). Nothing here imports torch."""
