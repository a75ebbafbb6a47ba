package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	parleyv1 "parley/clients/go/parley/v1"
)

// measure sends count messages on a stream, one a frame, with at most so many unanswered.
func (r *runner) measure(asked *command) (answer, error) {
	client, err := r.client(asked.Target)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(asked.authorized())
	defer cancel()
	chat, err := client.Chat(ctx)
	if err != nil {
		return nil, err
	}
	hello := &parleyv1.Hello{Start: parleyv1.Start_START_LATEST, NoEcho: true}
	if err := chat.Send(&parleyv1.ChatRequest{Payload: &parleyv1.ChatRequest_Hello{Hello: hello}}); err != nil {
		return nil, err
	}
	if first, err := chat.Recv(); err != nil {
		return nil, err
	} else if len(first.Welcomes) == 0 {
		return nil, fmt.Errorf("no welcome but %v", first)
	}
	places := make(chan struct{}, asked.Outstanding)
	started := time.Now()
	go func() {
		message := &parleyv1.SendRequest{ConversationId: asked.ConversationID, Text: strings.Repeat("x", 100)}
		send := &parleyv1.ChatRequest_Send{Send: &parleyv1.SendFrame{Requests: []*parleyv1.SendRequest{message}}}
		for number := range asked.Count {
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return
			}
			if chat.Send(&parleyv1.ChatRequest{CorrelationId: int64(number + 1), Payload: send}) != nil {
				return // the receiver hears why
			}
		}
	}()
	accepted := 0
	for answered := 0; answered < asked.Count; {
		frame, err := chat.Recv()
		if err != nil {
			return nil, err
		}
		for _, result := range frame.Results {
			answered++
			if result.GetAccepted() != nil {
				accepted++
			}
			<-places
		}
	}
	return answer{"seconds": time.Since(started).Seconds(), "accepted": accepted}, nil
}
