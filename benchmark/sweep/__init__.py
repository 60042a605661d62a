"""Many runs: grid, plan, run folders, backends, status."""
