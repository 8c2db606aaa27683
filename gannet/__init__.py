"""Gannet: train, measure and use generative adversarial networks."""
