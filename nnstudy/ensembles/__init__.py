"""Ensembles of what a search has trained: chosen, combined, calibrated, measured."""
