"""Everything that knows fsspec: exclusive files, listings, errors and retries."""
