"""Public data sets: found, downloaded and unpacked safely."""
