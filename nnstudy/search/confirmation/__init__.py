"""The best configurations of a search, trained again with several seeds each."""
