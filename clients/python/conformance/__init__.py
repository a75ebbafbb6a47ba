"""The conformance runner on the grpcio stubs; ../../../conformance/README.md says what it must do."""
