// Workshop does the orders that come through a conversation, and answers each there. Any number of these processes share
// the work: they say the same device id. Arguments: [-crash-on ORDER] host:port; SERVICE_TOKEN is in the environment.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	parleyv1 "parley/clients/go/parley/v1"
)

const (
	shop         = "shop"
	conversation = "shop:workshop"
	deviceID     = "orders" // the same in all processes: each message goes to one of them
)

type workshop struct {
	client  parleyv1.ChatServiceClient
	crashOn string           // the order after whose answer this process dies, once
	prices  map[string]int64 // cents, as read from the conversation
	cursor  int64            // up to where it was read for prices
}

func main() {
	crashOn := flag.String("crash-on", "", "the order after whose answer to die, before its ack")
	flag.Parse()
	// The first Ctrl-C or SIGTERM lets it finish what it does; a second one ends it.
	stop, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(stop, restore)
	if err := run(stop, flag.Arg(0), *crashOn); err != nil {
		fmt.Fprintln(os.Stderr, "workshop:", err)
		os.Exit(1)
	}
}

func run(stop context.Context, target, crashOn string) error {
	channel, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer channel.Close()
	w := &workshop{parleyv1.NewChatServiceClient(channel), crashOn, map[string]int64{}, 1}
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+os.Getenv("SERVICE_TOKEN"))
	for stop.Err() == nil {
		err := w.work(ctx, stop)
		switch status.Code(err) {
		case codes.OK: // after our half-close
		case codes.Unavailable, codes.Canceled, codes.Internal, codes.Unknown, codes.ResourceExhausted:
			fmt.Println("the stream broke:", err)
		default:
			return err
		}
		select {
		case <-time.After(rand.N(2 * time.Second)): // at random, so that not all come back at once
		case <-stop.Done():
		}
	}
	return nil
}

// work does what one stream brings, until the server ends it or we are to stop. What is not acked by then goes to others.
func (w *workshop) work(ctx, stop context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.client.Chat(ctx)
	if err != nil {
		return err
	}
	hello := &parleyv1.Hello{
		DeviceId: deviceID, AckMode: parleyv1.AckMode_ACK_MODE_MANUAL,
		NoEcho:         true, // our answers are no work for us
		WindowMessages: 1,    // one order at a time, so that the other processes get the others
	}
	// An error of Send is not looked at, here and below: Recv says why the stream ended.
	_ = stream.Send(&parleyv1.ChatRequest{Payload: &parleyv1.ChatRequest_Hello{Hello: hello}})
	frames, ended := make(chan *parleyv1.ChatResponse), make(chan error, 1)
	go func() {
		for {
			frame, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case frames <- frame:
			case <-ctx.Done():
				return
			}
		}
	}()
	isClosed := false
	stopping := stop.Done()
	for {
		select {
		case frame := <-frames:
			for _, refused := range frame.Errors {
				return status.FromProto(refused.Error).Err()
			}
			for _, message := range frame.Messages {
				if !isClosed {
					_ = stream.Send(w.handle(ctx, message))
				}
			}
			if len(frame.GoAways) > 0 {
				isClosed = true
				_ = stream.CloseSend()
			}
		case <-stopping:
			stopping, isClosed = nil, true
			_ = stream.CloseSend()
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// handle does a message and gives the ack or the nack of it. Each message of the conversation needs one.
func (w *workshop) handle(ctx context.Context, message *parleyv1.Message) *parleyv1.ChatRequest {
	isOrder := message.ConversationId == conversation && message.Sender == shop && message.Attributes["kind"] == "order"
	if isOrder {
		if err := w.answer(ctx, message); err != nil {
			fmt.Printf("order %s, attempt %d, failed: %v\n", message.Attributes["order"], message.DeliveryAttempt, err)
			reason := err.Error()
			reason = strings.ToValidUTF8(reason[:min(len(reason), 512)], "") // the server takes 512 bytes
			nack := &parleyv1.Nack{ConversationId: message.ConversationId, Seq: message.Seq, Reason: reason}
			frame := &parleyv1.NackFrame{Nacks: []*parleyv1.Nack{nack}}
			return &parleyv1.ChatRequest{Payload: &parleyv1.ChatRequest_Nack{Nack: frame}}
		}
	}
	position := &parleyv1.Position{ConversationId: message.ConversationId, Seq: message.Seq}
	frame := &parleyv1.AckFrame{Positions: []*parleyv1.Position{position}}
	return &parleyv1.ChatRequest{Payload: &parleyv1.ChatRequest_Ack{Ack: frame}}
}

// answer does an order. It can be done twice, since the process may die before its ack; it is answered once: the request
// id is made from the order, and so is the content, with nothing in it of who did it, or when.
func (w *workshop) answer(ctx context.Context, order *parleyv1.Message) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	number, item := order.Attributes["order"], order.Attributes["item"]
	quantity, err := strconv.ParseInt(order.Attributes["quantity"], 10, 64)
	if err != nil {
		return err
	}
	if item == "clock" && order.DeliveryAttempt < 3 { // stands for anything that is away for a while
		return errors.New("the clockmaker does not answer")
	}
	cents, err := w.price(ctx, item)
	if err != nil {
		return err
	}
	total := strconv.FormatInt(quantity*cents, 10)
	sent, err := w.client.Send(ctx, &parleyv1.SendRequest{
		ConversationId: conversation, RequestId: "answer-" + number, ReplyToSeq: order.Seq,
		Text:       fmt.Sprintf("order %s: %s cents", number, total),
		Attributes: map[string]string{"kind": "answer", "order": number, "total_cents": total},
	})
	if err != nil {
		return err
	}
	if sent.Deduplicated {
		fmt.Printf("order %s, attempt %d, was answered before\n", number, order.DeliveryAttempt)
		return nil
	}
	fmt.Printf("order %s, attempt %d, is answered\n", number, order.DeliveryAttempt)
	if number == w.crashOn {
		fmt.Println("it dies before the ack")
		os.Exit(9)
	}
	return nil
}

// price gives an item's price. The conversation's log is where prices are kept: it is read on when one is not known.
func (w *workshop) price(ctx context.Context, item string) (int64, error) {
	for {
		if cents, isKnown := w.prices[item]; isKnown {
			return cents, nil
		}
		page, err := w.client.Pull(ctx, &parleyv1.PullRequest{ConversationId: conversation, Cursor: w.cursor, Limit: 500})
		if err != nil {
			return 0, err
		}
		for _, entry := range page.Messages {
			if entry.Sender == shop && entry.Attributes["kind"] == "price" {
				if cents, err := strconv.ParseInt(entry.Attributes["cents"], 10, 64); err == nil {
					w.prices[entry.Attributes["item"]] = cents
				}
			}
		}
		w.cursor = page.NextCursor
		if len(page.Messages) == 0 {
			return 0, fmt.Errorf("there is no price for the %s", item)
		}
	}
}
