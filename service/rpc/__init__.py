"""The methods of ChatService, one thin file an area, and the steps around each one (`pipeline.py`).

Policy is in the rooms below. `grpc_transport.py` and `registry.py` alone know gRPC. Imported by `worker` alone. ADR 4
and ADR 19 are the pages.
"""
