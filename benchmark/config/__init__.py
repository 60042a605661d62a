"""One run's configuration and identity; the sweep file, its blocks and grid; method options; weights."""
