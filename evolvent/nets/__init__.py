"""Nets: bottom-up scores f, top-down mappings g, and FRAME's given filters."""
