"""The mathematics: pure functions on query-major tensors, one file per idea."""
