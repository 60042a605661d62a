"""Files that are whole or absent, and the run folder: states, claims, heartbeat, liveness."""
