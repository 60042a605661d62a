"""Numbers from papers, and the comparison with ours."""
