"""What of a fine-tuning needs Keras: training from a block on, and a caller's callbacks."""
