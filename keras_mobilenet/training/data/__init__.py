"""Images with their classes, in each form in which users have them."""
