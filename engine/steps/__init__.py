"""The kinds of step: one file each, inputs -> output folder. No Ray here; `engine.work` decides what runs where.

Each has `run(recipe, inputs, out, site, backend) -> figures`: `inputs` maps a role ("base", "labels", ...) to the
folder of the step that fills it, `out` is the folder to fill (rank 0 alone writes), `site` says where data and models
are, `backend` is this worker's, and the figures go into the step's record.
"""
