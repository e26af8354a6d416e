"""The loop around a learner, what watches it, and a session that survives whatever ends it."""
