"""MobileNet V1 from scratch: the published recipe on a user's own pictures.

What a run leaves is what `finetune` leaves; its files, state and report are those of `transfer`.
"""
