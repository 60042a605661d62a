"""SmileBench: configuration, training, sweeps and reports."""
