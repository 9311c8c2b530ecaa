"""What one network keeps of an ensemble that it was trained on the answers of."""
