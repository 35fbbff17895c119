"""Models that tag words: mT5 in slots or one by one, encoders with a linear head; loading, windows, prediction, pretraining.

`sizes` and `recipes` know models by name alone and import no torch; all else here does.
"""
