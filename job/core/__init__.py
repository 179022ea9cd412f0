"""What everything rests on: errors, keys, paths, the environment, synthetic bars."""
