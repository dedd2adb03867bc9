"""From a recipe to a trained, resumable, tracked network."""
