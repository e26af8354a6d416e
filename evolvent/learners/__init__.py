"""Learners: which model it is. One short file a method; each returns an `Update`."""
