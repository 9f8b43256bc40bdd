"""The Keras layers that a net is made of: those of Keras, and one of this package."""
