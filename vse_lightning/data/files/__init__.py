"""Readers of the files that people have: tables, split files, pictures, features."""
