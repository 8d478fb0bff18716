"""What translation by tiles needs, with PyTorch and without."""
