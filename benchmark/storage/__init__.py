"""Files that outlive crashes, and the run folder made of them.

``atomic`` writes files whole or not at all and reads back what is there; ``yamlio`` reads and writes YAML; ``run_folder`` is the protocol
by which processes and hosts share ``results/<sweep>/runs/<run_id>``: states, claims, heartbeats, failures; ``liveness`` says whether
a process still lives. Paths and plain values come in, files and plain values go out: nothing here knows of configs, training or sweeps.
"""
