"""Everything that knows Ray: start or join it, run a Dataset with retries."""
