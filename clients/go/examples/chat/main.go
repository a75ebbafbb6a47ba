// Chat sends three notes to itself, and receives and acknowledges them; package session does the hard part. Arguments:
// [host:port].
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"parley/clients/go/examples/session"
	parleyv1 "parley/clients/go/parley/v1"
)

const (
	username = "hello-go"
	password = "correct horse battery staple"
	notes    = username + ":" + username // the direct conversation with oneself
)

func main() {
	target := "127.0.0.1:50051"
	if len(os.Args) > 1 {
		target = os.Args[1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, target); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, target string) error {
	if err := register(ctx, target); err != nil {
		return err
	}
	chat, err := session.Open(ctx, target, username, password, session.Options{DeviceID: "example"})
	if err != nil {
		return err
	}
	defer chat.Close(ctx)
	var last int64
	for _, text := range []string{"one", "two", "three"} {
		stored, err := chat.Send(ctx, &parleyv1.SendRequest{ConversationId: notes, Text: text})
		if err != nil {
			return err
		}
		last = stored.Seq
		fmt.Println("stored as", last)
	}
	for entry, err := range chat.Messages(ctx) {
		if err != nil {
			return err
		}
		if message := entry.Message; message != nil {
			fmt.Printf("received %d: %s\n", message.Seq, message.Text)
			chat.Ack(message.ConversationId, message.Seq)
			if message.Seq == last {
				break
			}
		}
	}
	return nil
}

// register makes the account where there is none.
func register(ctx context.Context, target string) error {
	channel, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer channel.Close()
	client := parleyv1.NewChatServiceClient(channel)
	_, err = client.Register(ctx, &parleyv1.RegisterRequest{Username: username, Password: password})
	if status.Code(err) == codes.AlreadyExists {
		return nil
	}
	return err
}
