"""From a submitted message to every device of every member: writer, fan-out, hub, sessions."""
