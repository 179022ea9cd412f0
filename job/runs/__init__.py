"""One run: what need not be done, rounds and limits, its record and lease, and what dead runs left behind."""
