"""What stands around every method, one concern a file."""
