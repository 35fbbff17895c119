"""Annotation projection: the entities of a labeled sentence, found in its translation."""
