"""The command `parley`: what each command takes and prints.

Imported by `service/__main__.py` alone; never imports `worker` or `rpc`. docs/operations has a page a task.
"""
