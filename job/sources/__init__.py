"""Find and read bars in any usual format."""
