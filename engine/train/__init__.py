"""Training: batches, losses, the one loop, and the two ways it runs: in this process, or in several with DeepSpeed."""
