"""What a model sees: pure functions from frame to frame, without I/O, clock or randomness."""
