"""Measurements at sizes that tests don't need; `make measure` runs them and prints figures."""
