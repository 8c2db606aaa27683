"""Using a trained generator."""
