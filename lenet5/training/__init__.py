"""Recipes, epochs, optimisers, schedules, losses, checkpoints, run folders."""
