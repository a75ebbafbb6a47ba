"""The conformance runner on the betterproto stubs, over grpclib: see conformance/README.md in the top folder."""
