"""Times: in which column, in which notation, in which zone, and which end of a bar they name."""
