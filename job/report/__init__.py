"""A registry as pictures: one HTML file that shows everything by itself, from what the registry holds alone."""
