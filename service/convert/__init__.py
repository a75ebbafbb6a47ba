"""Records to protobuf and back, one file a resource. Protobuf goes no deeper than here and `service/rpc`."""
