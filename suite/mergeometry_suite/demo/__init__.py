"""The main job on real models and data: real experts merged by every method, scored, and shown."""
