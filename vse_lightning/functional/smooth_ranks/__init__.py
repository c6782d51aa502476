"""Differentiable ranks of lists, exact and without a table of pairs: what the listwise losses are made of."""
