// Chat logs in, sends three notes to itself on a stream that breaks in the middle, resumes it and acknowledges what
// came. Arguments: [host:port].
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	parleyv1 "parley/clients/go/parley/v1"
)

const (
	username     = "hello-go"
	password     = "correct horse battery staple"
	conversation = username + ":" + username // the direct conversation with oneself
)

// device is what a client keeps from one stream to the next.
type device struct {
	client   parleyv1.ChatServiceClient
	outbox   []*parleyv1.SendRequest // what has no final answer yet, in order
	position int64                   // the highest seq that came
	stored   int64                   // the highest seq that our sends got
}

func main() {
	target := "127.0.0.1:50051"
	if len(os.Args) > 1 {
		target = os.Args[1]
	}
	if err := run(target); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run(target string) error {
	channel, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer channel.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	me := &device{client: parleyv1.NewChatServiceClient(channel)}
	token, err := me.login(ctx)
	if err != nil {
		return err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	for _, text := range []string{"one", "two", "three"} {
		// The request id is made once, not for each attempt: so the note is stored once, however often it is sent.
		note := &parleyv1.SendRequest{ConversationId: conversation, Text: text, RequestId: rand.Text()}
		me.outbox = append(me.outbox, note)
	}
	pause := 500 * time.Millisecond
	for isBreaking := true; ; isBreaking = false {
		err := me.chat(ctx, isBreaking)
		if err == nil {
			return nil
		}
		if !isPassing(err) {
			return err
		}
		fmt.Println("the stream broke:", err)
		select {
		case <-time.After(mathrand.N(pause)): // at random, so that not all come back at once
			pause = min(2*pause, 15*time.Second)
		case <-ctx.Done():
			return err
		}
	}
}

// login makes the account, or logs in when there is one. It gives the access token.
func (d *device) login(ctx context.Context) (string, error) {
	made, err := d.client.Register(ctx, &parleyv1.RegisterRequest{Username: username, Password: password})
	if status.Code(err) != codes.AlreadyExists {
		return made.GetAccessToken(), err
	}
	login, err := d.client.Login(ctx, &parleyv1.LoginRequest{Username: username, Password: password})
	return login.GetAccessToken(), err
}

// chat opens a stream, sends the outbox, and receives until all notes came back. isBreaking: it breaks before it sees an
// answer, as a connection can.
func (d *device) chat(ctx context.Context, isBreaking bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := d.client.Chat(ctx)
	if err != nil {
		return err
	}
	// Same device, same place: what it has not acknowledged comes again.
	hello := &parleyv1.Hello{DeviceId: "example", Start: parleyv1.Start_START_FROM_ACKS}
	frames := []*parleyv1.ChatRequest{{CorrelationId: 1, Payload: &parleyv1.ChatRequest_Hello{Hello: hello}}}
	sent := d.outbox
	if len(sent) > 0 {
		send := &parleyv1.ChatRequest_Send{Send: &parleyv1.SendFrame{Requests: sent}}
		frames = append(frames, &parleyv1.ChatRequest{CorrelationId: 2, Payload: send})
	}
	for _, frame := range frames {
		if err := stream.Send(frame); err != nil {
			break // Recv says why
		}
	}
	for isClosed := false; ; {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) { // the server's answer to our half-close
			return nil
		}
		if err != nil {
			return err
		}
		if isBreaking && len(frame.Results)+len(frame.Messages) > 0 {
			cancel()
			continue
		}
		for _, refused := range frame.Errors {
			return status.FromProto(refused.Error).Err()
		}
		if err := d.settle(sent, frame.Results); err != nil {
			return err
		}
		if d.receive(frame.Messages) && !isClosed { // what comes after our end is acknowledged next time
			ack := &parleyv1.AckFrame{Positions: []*parleyv1.Position{{ConversationId: conversation, Seq: d.position}}}
			if err := stream.Send(&parleyv1.ChatRequest{Payload: &parleyv1.ChatRequest_Ack{Ack: ack}}); err != nil {
				continue // Recv says why
			}
		}
		if len(d.outbox) == 0 && d.position >= d.stored {
			isClosed = true
			if err := stream.CloseSend(); err != nil {
				return err
			}
		}
	}
}

// settle takes out of the outbox what is stored.
func (d *device) settle(sent []*parleyv1.SendRequest, results []*parleyv1.SendResult) error {
	for _, result := range results {
		if refused := result.GetError(); refused != nil {
			return status.FromProto(refused).Err()
		}
		accepted := result.GetAccepted()
		fmt.Printf("stored %q as %d, deduplicated: %t\n", sent[result.Index].Text, accepted.Seq, accepted.Deduplicated)
		d.outbox = d.outbox[1:] // answers come in the order of the sends
		d.stored = max(d.stored, accepted.Seq)
	}
	return nil
}

// receive shows what is new, and says whether something was.
func (d *device) receive(messages []*parleyv1.Message) bool {
	before := d.position
	for _, message := range messages {
		if message.ConversationId == conversation && message.Seq > d.position { // else it came before
			fmt.Printf("received %d from %s: %s\n", message.Seq, message.Sender, message.Text)
			d.position = message.Seq
		}
	}
	return d.position > before
}

// isPassing says whether to come back after this error.
func isPassing(err error) bool {
	refused := status.Convert(err)
	for _, detail := range refused.Details() {
		if _, found := detail.(*errdetails.RetryInfo); found {
			return true
		}
	}
	switch refused.Code() {
	case codes.Unavailable, codes.Canceled, codes.Internal, codes.Unknown, codes.Aborted:
		return true
	}
	return false
}
