"""What a training or evaluation loader is made of: items, their order, batches."""
