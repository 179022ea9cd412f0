"""Columns of a bar: by their names, or by their values where there are none; and their numbers."""
