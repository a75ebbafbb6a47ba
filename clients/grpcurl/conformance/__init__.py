"""The conformance runner for grpcurl: each command is a command line that one could type; there are no stubs.

It knows nothing but the address and asks the server for the rest (reflection). What grpcurl can't do, or only with the
protos at hand, is left to the others. ../../../conformance/README.md says what a runner must do.
"""
