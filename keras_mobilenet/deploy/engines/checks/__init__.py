"""Files of models, checked before a native runtime gets them."""
