// The Go half of the example. Not published, and neither is the client, so it says where that lies.
module parley/clients/examples/services

go 1.26.0

require (
	google.golang.org/grpc v1.85.0
	parley/clients/go v0.1.1
)

require (
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261026165753-2ffab32bce7e // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace parley/clients/go => ../../go
