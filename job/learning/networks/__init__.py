"""Neural networks of PyTorch behind scikit-learn's conventions. Nothing here is imported before a model needs it."""
