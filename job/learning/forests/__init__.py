"""Random forests: what fits them, and the trees grown here."""
