"""Which files are of one series, and which hold no bars at all."""
