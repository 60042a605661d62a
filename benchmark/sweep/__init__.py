"""Carries out the runs of a sweep on this machine.

In come the configs of a sweep (``benchmark.config``) and a results folder. ``plan`` compares the two, ``cost`` estimates what is missing,
``probe`` measures it; ``carry_out`` hands an ``Order`` and a ``Policy`` to ``runner``, which starts processes of ``worker``; ``status``
and ``progress`` tell how far it is, and ``results`` gives the records to the report. Out go run folders (``benchmark.storage``) with
records or failures, and an exit code. Training is known by the three functions that a worker calls, other machines not at all.
"""
