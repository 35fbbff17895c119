"""What the results table supports. Imports the engine's store, spec and languages; the engine never imports it."""
