"""A host with the mixins before it: its methods extended, its hyper-parameters and checkpoints its own."""
