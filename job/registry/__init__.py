"""Versions of models on any storage: written whole, committed last, checked before they are loaded."""
