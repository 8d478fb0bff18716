"""What every page that i2i writes has in common: one HTML file that opens from the disk and asks for nothing else."""
