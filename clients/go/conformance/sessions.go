package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/protobuf/encoding/protojson"

	"parley/clients/go/examples/session"
	parleyv1 "parley/clients/go/parley/v1"
)

// driven is a session that is open, and its sends by ticket.
type driven struct {
	session *session.Session
	sends   map[string]func(context.Context) (*parleyv1.Accepted, error)
}

// driveSession does a command for the session that people copy.
func (r *runner) driveSession(asked *command) (answer, error) {
	limit := time.Duration(asked.TimeoutMS) * time.Millisecond
	if asked.Do == "session_open" {
		return r.openSession(asked)
	}
	open, found := r.sessions[asked.Session]
	if !found {
		return nil, fmt.Errorf("there is no session %q", asked.Session)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	switch asked.Do {
	case "session_send":
		request := &parleyv1.SendRequest{ConversationId: asked.ConversationID, Text: asked.Text}
		waiting, err := open.session.Enqueue(request)
		if err != nil {
			waiting = func(context.Context) (*parleyv1.Accepted, error) { return nil, err }
		}
		open.sends[asked.Ticket] = waiting
		return answer{"sending": true}, nil
	case "session_sent":
		accepted, err := open.sends[asked.Ticket](ctx)
		if err != nil {
			return ended(err, "error")
		}
		written, err := protojson.Marshal(accepted)
		return answer{"accepted": json.RawMessage(written)}, err
	case "session_next":
		for entry, err := range open.session.Messages(ctx) {
			if err != nil {
				return ended(err, "end")
			}
			return written(entry)
		}
		return answer{"end": answer{"code": "OK"}}, nil
	case "session_ack":
		seq, err := asked.Seq.Int64()
		open.session.Ack(asked.ConversationID, seq)
		return answer{"acked": true}, err
	case "session_close":
		open.session.Close(ctx)
		return answer{"closed": true}, nil
	}
	return nil, fmt.Errorf("there is no %q", asked.Do)
}

func (r *runner) openSession(asked *command) (answer, error) {
	heartbeat := time.Duration(asked.HeartbeatMS) * time.Millisecond
	options := session.Options{DeviceID: asked.DeviceID, Heartbeat: heartbeat}
	opened, err := session.Open(context.Background(), asked.Target, asked.Username, asked.Password, options)
	if err != nil {
		return ended(err, "error")
	}
	r.sessions[asked.Session] = &driven{opened, map[string]func(context.Context) (*parleyv1.Accepted, error){}}
	return answer{"opened": true}, nil
}

func written(entry session.Entry) (answer, error) {
	if entry.Reset != nil {
		reset, err := protojson.Marshal(entry.Reset)
		return answer{"reset": json.RawMessage(reset)}, err
	}
	message, err := protojson.Marshal(entry.Message)
	return answer{"message": json.RawMessage(message)}, err
}

// ended gives the ERROR of a session under a key, or that nothing came in time.
func ended(err error, key string) (answer, error) {
	if errors.Is(err, context.DeadlineExceeded) {
		return answer{"nothing": true}, nil
	}
	var refused *session.Refused
	if !errors.As(err, &refused) {
		return nil, err
	}
	found := answer{"code": code.Code(refused.Code).String(), "message": refused.Message, "log": refused.Error()}
	if refused.Reason != "" {
		found["reason"] = refused.Reason
	}
	return answer{key: found}, nil
}
