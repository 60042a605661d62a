"""Sweeps as Slurm jobs.

A plan comes in. ``layout`` groups its runs into tasks and arrays, ``submit`` hands them to ``sbatch`` (the one file that knows submitit)
and follows them, ``job`` is what runs inside a job, ``submissions`` keeps what was submitted, ``jobs`` asks Slurm what became of it,
``cancel`` ends it. Job ids and words for the user go out; results are the run folders, as of a local sweep.
"""
