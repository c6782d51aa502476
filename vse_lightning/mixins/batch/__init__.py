"""One batch in a step of a host: its embeddings and its loss."""
