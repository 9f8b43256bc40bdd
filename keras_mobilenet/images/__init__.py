"""Image files to pixels, their preprocessing and their class names; imports `nets`."""
