"""Measures of generated samples, as pure functions of arrays, and the features they are taken in."""
