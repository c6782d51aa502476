"""The commands beside fit, validate, test and predict: one function ``run(args)`` each."""
