"""Fan-out and presence, in Redis or Valkey."""
