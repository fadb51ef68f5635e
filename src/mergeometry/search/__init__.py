"""Chooses what a recipe leaves open by the validation score of merges: a scale from a grid."""
