"""Tasks: what their labels are and how answers are scored."""
