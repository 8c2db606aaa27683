"""Objectives, regularizers, constraints and reconstruction losses: pure and unreduced."""
