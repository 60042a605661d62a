"""Starts Python with SIGUSR2 blocked: one that a cluster sends while modules are imported waits until there is a handler for it.

Run as a script, with the arguments of the interpreter to start; imports the standard library alone.
"""

import os
import signal
import sys

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    os.execv(sys.executable, [sys.executable, "-P", *sys.argv[1:]])
