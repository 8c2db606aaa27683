"""The laboratory: a GAN to watch, touch and understand in the browser, on the engine that trains all others."""
