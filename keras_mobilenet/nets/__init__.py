"""What each MobileNet is, as data; imports nothing but the standard library."""
