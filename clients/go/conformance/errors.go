package main

import (
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

const domain = "parley.v1"

// describe says how a refused call looks in Go.
func describe(err error) answer {
	refused := status.Convert(err)
	said := answer{
		"code":    code.Code(refused.Code()).String(),
		"message": refused.Message(),
		"log":     err.Error(),
	}
	for _, detail := range refused.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.Domain == domain {
				said["reason"], said["metadata"] = detail.Reason, detail.Metadata
			}
		case *errdetails.BadRequest:
			fields := []string{}
			for _, violation := range detail.FieldViolations {
				fields = append(fields, violation.Field)
			}
			said["fields"] = fields
		case *errdetails.RetryInfo:
			said["retry_delay_ms"] = detail.RetryDelay.AsDuration().Milliseconds()
		}
	}
	return said
}
