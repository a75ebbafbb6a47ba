"""A chat for the terminal, on the generated stubs alone: `python clients/python/examples/terminal_chat --help`."""
