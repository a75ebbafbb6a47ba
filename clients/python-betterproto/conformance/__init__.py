"""The conformance runner on the betterproto stubs, over grpclib; ../../conformance/README.md says what it must do."""
