"""What the discriminator sees through."""
