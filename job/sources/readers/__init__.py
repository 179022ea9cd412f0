"""Readers of the formats: Arrow, delimited text, JSON."""
