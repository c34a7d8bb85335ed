"""What changes are made of."""
