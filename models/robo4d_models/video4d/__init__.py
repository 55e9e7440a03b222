"""The `tiny` 4D video model: one RGB-D frame per view in, a geometry-aware video and a plan for both arms out.

Three parts, each one file that reads from top to bottom: `plan_model` decides where the grippers go, `draft` draws
that plan into both views, and `refiner` turns the drawing into video. `pipeline` runs them; start reading there.
"""
