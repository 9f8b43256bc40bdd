"""A model's answers for labelled images: how it is asked, the rows it gives, what they come to."""
