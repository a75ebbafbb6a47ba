"""What is done to the server, a scenario a file."""
