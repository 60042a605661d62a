"""Sweeps as Slurm jobs: submissions, jobs, layout, cancel."""
