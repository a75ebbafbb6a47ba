package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"

	parleyv1 "parley/clients/go/parley/v1"
)

// newerField is a payload of a contract that is newer than ours.
const newerField = 1000

// receiver is a Chat or Subscribe.
type receiver interface {
	grpc.ClientStream
	Recv() (*parleyv1.ChatResponse, error)
}

// stream is one that is open.
type stream struct {
	chat   receiver
	cancel context.CancelFunc
	closed bool // our half
	// What came, each waiting until it is read, so that nothing is lost. The last one is an error.
	came chan received
}

type received struct {
	frame *parleyv1.ChatResponse
	err   error
}

func (r *runner) open(asked *command) (answer, error) {
	client, err := r.client(asked.Target)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(asked.authorized())
	opened := &stream{cancel: cancel, came: make(chan received)}
	if asked.Method == "Subscribe" {
		request := &parleyv1.SubscribeRequest{}
		if err := protojson.Unmarshal(asked.Request, request); err != nil {
			cancel()
			return nil, err
		}
		opened.chat, err = client.Subscribe(ctx, request)
	} else {
		opened.chat, err = client.Chat(ctx)
	}
	go opened.listen(err)
	r.streams[asked.Stream] = opened
	return answer{"opened": true}, nil
}

// listen receives until the end. That is at once with an error of opening: the next read says it.
func (s *stream) listen(err error) {
	for err == nil {
		var frame *parleyv1.ChatResponse
		if frame, err = s.chat.Recv(); err == nil {
			s.came <- received{frame: frame}
		}
	}
	s.came <- received{err: err}
}

func (s *stream) write(frame json.RawMessage) (answer, error) {
	request := &parleyv1.ChatRequest{}
	if err := protojson.Unmarshal(frame, request); err != nil {
		return nil, err
	}
	return s.send(request)
}

func (s *stream) writeNewer(correlationID int64) (answer, error) {
	request := &parleyv1.ChatRequest{CorrelationId: correlationID}
	payload := protowire.AppendString(protowire.AppendTag(nil, newerField, protowire.BytesType), "newer")
	request.ProtoReflect().SetUnknown(payload)
	return s.send(request)
}

func (s *stream) send(request *parleyv1.ChatRequest) (answer, error) {
	if s.chat == nil || s.closed {
		return answer{"written": false}, nil
	}
	err := s.chat.SendMsg(request)
	if errors.Is(err, io.EOF) { // it has ended; why is read
		return answer{"written": false}, nil
	}
	return answer{"written": true}, err
}

func (s *stream) read(limit time.Duration) (answer, error) {
	select {
	case next := <-s.came:
		switch {
		case errors.Is(next.err, io.EOF):
			return answer{"end": answer{"code": "OK"}}, nil
		case next.err != nil:
			return answer{"end": describe(next.err)}, nil
		}
		frame, err := protojson.Marshal(next.frame)
		return answer{"frame": json.RawMessage(frame)}, err
	case <-time.After(limit):
		return answer{"nothing": true}, nil
	}
}

func (s *stream) close() (answer, error) {
	var err error
	if s.chat != nil {
		err = s.chat.CloseSend()
	}
	s.closed = true
	return answer{"closed": true}, err
}
