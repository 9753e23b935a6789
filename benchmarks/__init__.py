"""``make bench``: how fast, how small and how flat, measured on the embedded services."""
