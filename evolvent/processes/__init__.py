"""Processes that share a step or a drawing, and the signals that end them."""
