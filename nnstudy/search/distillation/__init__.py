"""Training a network on an ensemble's answers: a stage in which mix and temperature are searched."""
