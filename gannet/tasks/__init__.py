"""Applications: what is generated and what is compared. No loop, no optimiser, no device."""
