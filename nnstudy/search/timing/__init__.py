"""Choosing by elapsed time: minibatch sizes compared by how fast they improve the score."""
