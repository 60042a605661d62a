"""The command line: each command parses its arguments and calls one function of the rooms below.

Words of a shell come in; printed text and an exit code go out. ``app`` holds the commands and turns errors that are the user's to mend
into one line and exit code 2; the other files hold what only commands do: listing methods, backbones and sweeps, data sets, logs, and
``doctor``.
"""
