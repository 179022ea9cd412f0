"""Neural networks of PyTorch behind scikit-learn's conventions; PyTorch is imported when one is fitted or used."""
