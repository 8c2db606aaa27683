"""Networks: one family a file, generator and discriminator together."""
