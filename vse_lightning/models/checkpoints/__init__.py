"""Models out of checkpoints."""
