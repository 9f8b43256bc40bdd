"""What this package writes: files of weights, `.keras` files, and folders for others to open."""
