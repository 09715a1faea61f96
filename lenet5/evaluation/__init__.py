"""Metrics, confidence and rejection, figures, introspection."""
