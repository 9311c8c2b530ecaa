"""Ranges: what a stage's trials tell of where to search next."""
