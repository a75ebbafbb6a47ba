"""Settings: the tree, reading it from variables and the file, checking, printing and handing it to a worker.

What a setting does is not here. Every room may import this one; it imports nothing of the service.
docs/configuration.md shows every setting.
"""
