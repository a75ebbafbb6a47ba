package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	parleyv1 "parley/clients/go/parley/v1"
)

const defaultDeadline = 30 * time.Second

// runner has the channels and streams that are open.
type runner struct {
	clients  map[string]parleyv1.ChatServiceClient
	streams  map[string]*stream
	sessions map[string]*driven
}

func newRunner() *runner {
	return &runner{map[string]parleyv1.ChatServiceClient{}, map[string]*stream{}, map[string]*driven{}}
}

// client gives the one client of a target.
func (r *runner) client(target string) (parleyv1.ChatServiceClient, error) {
	if known, found := r.clients[target]; found {
		return known, nil
	}
	waits := backoff.DefaultConfig
	waits.BaseDelay, waits.MaxDelay = 100*time.Millisecond, time.Second
	channel, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: waits, MinConnectTimeout: 5 * time.Second}),
		grpc.WithNoProxy())
	if err != nil {
		return nil, err
	}
	r.clients[target] = parleyv1.NewChatServiceClient(channel)
	return r.clients[target], nil
}

func (r *runner) call(asked *command) (answer, error) {
	client, err := r.client(asked.Target)
	if err != nil {
		return nil, err
	}
	method := reflect.ValueOf(client).MethodByName(asked.Method)
	if !method.IsValid() {
		return nil, fmt.Errorf("there is no method %q", asked.Method)
	}
	request := reflect.New(method.Type().In(1).Elem())
	if err := protojson.Unmarshal(asked.Request, request.Interface().(proto.Message)); err != nil {
		return nil, err
	}
	ctx, cancel := asked.context()
	defer cancel()
	if asked.CancelAfterMS != nil {
		defer time.AfterFunc(time.Duration(*asked.CancelAfterMS)*time.Millisecond, cancel).Stop()
	}
	results := method.Call([]reflect.Value{reflect.ValueOf(ctx), request})
	if err, failed := results[1].Interface().(error); failed {
		return answer{"error": describe(err)}, nil
	}
	response, err := protojson.Marshal(results[0].Interface().(proto.Message))
	return answer{"response": json.RawMessage(response)}, err
}

// page reads a log page by page.
func (r *runner) page(asked *command) (answer, error) {
	client, err := r.client(asked.Target)
	if err != nil {
		return nil, err
	}
	request := &parleyv1.PullRequest{}
	if err := protojson.Unmarshal(asked.Request, request); err != nil {
		return nil, err
	}
	seqs := []string{}
	for {
		ctx, cancel := asked.context()
		page, err := client.Pull(ctx, request)
		cancel()
		if err != nil {
			return answer{"error": describe(err)}, nil
		}
		for _, message := range page.Messages {
			seqs = append(seqs, strconv.FormatInt(message.Seq, 10))
		}
		if !page.HasMore {
			return answer{"seqs": seqs, "next_cursor": strconv.FormatInt(page.NextCursor, 10)}, nil
		}
		request.Cursor = page.NextCursor
	}
}

// context gives the context of a unary call: with its token and deadline.
func (c *command) context() (context.Context, context.CancelFunc) {
	deadline := defaultDeadline
	if c.DeadlineMS != nil {
		deadline = time.Duration(*c.DeadlineMS) * time.Millisecond
	}
	return context.WithTimeout(c.authorized(), deadline)
}

func (c *command) authorized() context.Context {
	if c.Token == "" {
		return context.Background()
	}
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+c.Token)
}
