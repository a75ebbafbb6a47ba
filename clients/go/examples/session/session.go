// Package session keeps a device's session with Parley over all its connections. Copy this file as it stands; it needs
// the stubs alone.
//
//	chat, err := session.Open(ctx, "127.0.0.1:50051", "alice", "a long password", session.Options{DeviceID: "laptop"})
//	accepted, err := chat.Send(ctx, &parleyv1.SendRequest{ConversationId: "alice:bob", Text: "Hello!"})
//	for entry, err := range chat.Messages(ctx) {
//		if err == nil && entry.Message != nil {
//			chat.Ack(entry.Message.ConversationId, entry.Message.Seq)
//		}
//	}
//
// docs/clients.md has the rules that are kept here, and why.
package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	parleyv1 "parley/clients/go/parley/v1"
)

const (
	callLimit      = 10 * time.Second
	ackDelay       = time.Second
	outboxSends    = 1000 // without a final answer; one more is refused
	windowEntries  = 1000 // came and are not acknowledged; the server holds back what is beyond
	frameBytes     = 256*1024 - 64
	helloPositions = 2000
	ackPositions   = 1000
	quietID        = 1 // the correlation_id of frames whose refusal changes nothing here
)

// passing are the transport's own ends of calls and streams, by which proxies tell of a server that went, and
// FailedPrecondition for a hello that came late.
var passing = []codes.Code{
	codes.OK, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal, codes.Aborted,
	codes.DataLoss, codes.FailedPrecondition,
}

// Refused says what was refused, or how a stream ended. Reason is "" where that does not come from Parley.
type Refused struct {
	Code           codes.Code
	Message        string
	Reason         string
	RetryDelay     *time.Duration // the RetryInfo's
	conversationID string
}

func (r *Refused) Error() string {
	return fmt.Sprintf("%s: %s", cmp.Or(r.Reason, r.Code.String()), r.Message)
}

func (r *Refused) isPassing() bool { return r.RetryDelay != nil || slices.Contains(passing, r.Code) }

func toRefused(found *status.Status) *Refused {
	refused := &Refused{Code: found.Code(), Message: found.Message()}
	for _, detail := range found.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			refused.Reason, refused.conversationID = detail.Reason, detail.Metadata["conversation_id"]
		case *errdetails.RetryInfo:
			delay := detail.RetryDelay.AsDuration()
			refused.RetryDelay = &delay
		}
	}
	return refused
}

// pause says how long to wait after so many failures; all of it is random, so that not all come back together.
func pause(attempt int, atLeast *time.Duration) time.Duration {
	wait := mathrand.N(min(500*time.Millisecond<<min(attempt, 5), 15*time.Second))
	if atLeast != nil {
		wait += *atLeast
	}
	return wait
}

var errClosed = &Refused{Code: codes.Canceled, Message: "the session is closed"}

// Entry is what came: one of the two. After a Reset, what came of its conversation above its seq is void.
type Entry struct {
	Message *parleyv1.Message
	Reset   *parleyv1.Reset
}

// Options of Open.
type Options struct {
	DeviceID  string                           // the same for the same device each time: acks are kept by it
	TLS       credentials.TransportCredentials // nil: no TLS
	Heartbeat time.Duration                    // 0: 10 s; silence of three times that is a break
}

// send is one without a final answer.
type send struct {
	request    *parleyv1.SendRequest
	answered   chan struct{}
	accepted   *parleyv1.Accepted
	err        error
	isUnderWay bool
	due        time.Time
	attempt    int
}

// position is how far a conversation has come.
type position struct {
	came, taken, acked int64 // seqs: the highest that came, that the program took, that it acknowledged
	moved              int   // the larger, the later it came
}

// Session is one device of one login, on one stream at a time. Its methods may be called from any goroutine.
type Session struct {
	target  string
	options Options
	ctx     context.Context
	cancel  context.CancelFunc
	wake    chan struct{} // the writer has to look
	filled  chan struct{} // the reader of Messages has
	ended   chan struct{}

	mu         sync.Mutex
	end        error
	isClosing  bool
	epoch      int64
	attempt    int
	moves      int
	lastID     int64
	positions  map[string]*position
	outbox     map[string][]*send // of each conversation the first alone may be under way
	inbox      []Entry
	renewing   sync.Mutex // held during an exchange of tokens
	token      string
	renewal    *parleyv1.RefreshTokenRequest
	clockAhead *time.Duration // the server's clock less ours, known from the first welcome on
	stale      time.Time      // when the exchange is due; zero: not
	// What belongs to a stream.
	helloID, streamEpoch              int64
	isWelcomed, isLive, hasFreshToken bool
	leave, tell                       time.Time // when to come back after a go_away; when the next acks are due
	ackCount                          int64
	underWay                          map[int64]*send
	untold                            map[string]bool // conversations whose ack the server is to be told
}

// Open logs in, and keeps a stream open until Close. It waits for a server that is away, as long as ctx lets it. The
// error is a *Refused when the login never will succeed.
func Open(ctx context.Context, target, username, password string, options Options) (*Session, error) {
	options.Heartbeat = cmp.Or(options.Heartbeat, 10*time.Second)
	s := &Session{
		target: target, options: options, positions: map[string]*position{}, outbox: map[string][]*send{},
		lastID: quietID, wake: make(chan struct{}, 1), filled: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	request := &parleyv1.LoginRequest{Username: username, Password: password, DeviceId: options.DeviceID}
	var answer *parleyv1.LoginResponse
	err := s.call(ctx, func(ctx context.Context, client parleyv1.ChatServiceClient) (err error) {
		answer, err = client.Login(ctx, request)
		return err
	})
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.takeTokens(answer.AccessToken, answer.RefreshToken, answer.AccessExpireTime)
	go s.run()
	return s, nil
}

// Send sends a message, and returns when it is stored; calls for one conversation, one after the other, keep their
// order. A ctx that ends takes nothing back. The error is a *Refused when it had no effect and never will; its reason
// is OUTBOX_FULL when 1,000 wait.
func (s *Session) Send(ctx context.Context, request *parleyv1.SendRequest) (*parleyv1.Accepted, error) {
	waiting, err := s.Enqueue(request)
	if err != nil {
		return nil, err
	}
	return waiting(ctx)
}

// Enqueue is the first half of Send: it gives the message its place, and what it returns waits for the answer.
func (s *Session) Enqueue(request *parleyv1.SendRequest) (func(context.Context) (*parleyv1.Accepted, error), error) {
	request = proto.Clone(request).(*parleyv1.SendRequest)
	request.RequestId = cmp.Or(request.RequestId, rand.Text()) // of all attempts
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := 0
	for _, sends := range s.outbox {
		waiting += len(sends)
	}
	switch {
	case s.end != nil:
		return nil, s.end
	case s.isClosing:
		return nil, errClosed
	case proto.Size(request) > frameBytes: // gRPC would end the stream, and the next one too
		return nil, &Refused{Code: codes.InvalidArgument, Message: "a frame has at most 256 KiB", Reason: "MESSAGE_TOO_LARGE"}
	case waiting >= outboxSends:
		return nil, &Refused{Code: codes.ResourceExhausted, Message: "1,000 sends wait for an answer", Reason: "OUTBOX_FULL"}
	}
	made := &send{request: request, answered: make(chan struct{})}
	s.outbox[request.ConversationId] = append(s.outbox[request.ConversationId], made)
	signal(s.wake)
	return func(ctx context.Context) (*parleyv1.Accepted, error) {
		select {
		case <-made.answered:
			return made.accepted, made.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, nil
}

// Messages gives entries, each once and in order, until Close; for one reader at a time. Its last element is an error:
// why the session has ended (codes.Unauthenticated: the login has), or that ctx has.
func (s *Session) Messages(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			entry, err, isThere := s.take()
			switch {
			case isThere && !yield(entry, nil):
				return
			case isThere:
			case err == errClosed:
				return
			case err != nil:
				yield(Entry{}, err)
				return
			default:
				select {
				case <-s.filled:
				case <-ctx.Done():
					yield(Entry{}, ctx.Err())
					return
				}
			}
		}
	}
}

func (s *Session) take() (Entry, error, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.inbox) == 0 {
		return Entry{}, s.end, false
	}
	entry := s.inbox[0]
	s.inbox = s.inbox[1:]
	if entry.Message != nil {
		s.position(entry.Message.ConversationId).taken = entry.Message.Seq
	}
	return entry, nil, true
}

// Ack says that all up to seq that Messages gave is dealt with: it never comes to this device again.
func (s *Session) Ack(conversationID string, seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.position(conversationID)
	if seq = min(seq, place.taken); seq > place.acked {
		s.ackCount += seq - place.acked
		place.acked = seq
		if s.untold != nil {
			s.untold[conversationID] = true
		}
		signal(s.wake)
	}
}

// Close waits for the answers to all sends, tells the last acks and ends the stream; at once when ctx ends.
func (s *Session) Close(ctx context.Context) {
	s.mu.Lock()
	s.isClosing = true
	s.mu.Unlock()
	signal(s.wake)
	select {
	case <-s.ended:
	case <-ctx.Done():
	}
	s.cancel()
	<-s.ended
}

func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

func (s *Session) position(conversationID string) *position {
	if s.positions[conversationID] == nil {
		s.positions[conversationID] = &position{}
	}
	return s.positions[conversationID]
}

// The streams, one after the other.

func (s *Session) run() {
	err := s.keepStream()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = err
	for _, sends := range s.outbox {
		for _, waiting := range sends {
			waiting.err = err
			close(waiting.answered)
		}
	}
	signal(s.filled)
	close(s.ended)
}

// keepStream returns why the session has ended.
func (s *Session) keepStream() error {
	for s.ctx.Err() == nil {
		end := s.runStream(s.accessToken())
		s.mu.Lock()
		leave, isWelcomed, isDone := s.leave, s.isWelcomed, s.isClosing && len(s.outbox) == 0
		wait := time.Until(leave)
		if leave.IsZero() {
			wait = pause(s.attempt, end.RetryDelay)
			s.attempt++
		}
		s.mu.Unlock()
		isExpired := end.Code == codes.Unauthenticated
		switch {
		case isDone && (end.Code == codes.OK || !isWelcomed):
			return errClosed
		case isExpired && isWelcomed && leave.IsZero():
			wait = 0
		case !isExpired && !end.isPassing():
			return end
		}
		slog.Info("the stream ended", "why", end, "next_in", wait)
		sleep(s.ctx, wait)
		if isExpired {
			// After the pause, in which a short token ends, also one that was renewed since the stream began.
			if err := s.refresh(s.accessToken()); err != nil {
				return err
			}
		}
	}
	return errClosed
}

func sleep(ctx context.Context, wait time.Duration) {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}

// runStream serves one stream, and says how it ended.
func (s *Session) runStream(token string) *Refused {
	s.mu.Lock()
	s.isWelcomed, s.isLive, s.hasFreshToken, s.leave = false, false, false, time.Time{}
	s.underWay, s.untold = map[int64]*send{}, map[string]bool{}
	for _, sends := range s.outbox {
		sends[0].isUnderWay = false // it goes out again, before anything newer
	}
	s.mu.Unlock()
	channel, err := s.dial()
	if err != nil {
		return toRefused(status.Convert(err))
	}
	defer channel.Close()
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	silent := &Refused{Code: codes.Unavailable, Message: "the server is silent"}
	silence := time.AfterFunc(3*s.options.Heartbeat, func() { cancel(silent) })
	defer silence.Stop()
	authorized := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	stream, err := parleyv1.NewChatServiceClient(channel).Chat(authorized)
	if err != nil {
		return toRefused(status.Convert(err))
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write(ctx, stream)
	}()
	defer func() {
		cancel(nil)
		<-written
	}()
	for {
		frame, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return &Refused{Code: codes.OK, Message: "the server ended the stream"}
		case err != nil && context.Cause(ctx) == silent:
			return silent
		case err != nil:
			return toRefused(status.Convert(err))
		}
		silence.Reset(3 * s.options.Heartbeat)
		if refused := s.receive(frame); refused != nil {
			return refused
		}
	}
}

// write writes what there is. The reader goes on meanwhile, and it learns why a stream ends.
func (s *Session) write(ctx context.Context, stream parleyv1.ChatService_ChatClient) {
	if stream.Send(s.makeHello()) != nil {
		return
	}
	for ctx.Err() == nil {
		frames, due, isDone := s.takeFrames(time.Now())
		for _, frame := range frames {
			if stream.Send(frame) != nil {
				return
			}
		}
		if isDone {
			_ = stream.CloseSend()
			return
		}
		select {
		case <-s.wake:
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
		}
	}
}

// dial makes a channel for one stream or call: so none meets a connection that hangs, or the pauses of a channel.
func (s *Session) dial() (*grpc.ClientConn, error) {
	tls := s.options.TLS
	if tls == nil {
		tls = insecure.NewCredentials()
	}
	return grpc.NewClient(s.target, grpc.WithTransportCredentials(tls))
}

// The login.

// call makes a call that may be repeated, as often as it takes.
func (s *Session) call(ctx context.Context, do func(context.Context, parleyv1.ChatServiceClient) error) error {
	for attempt := 0; ; attempt++ {
		channel, err := s.dial()
		if err != nil {
			return err
		}
		limited, cancel := context.WithTimeout(ctx, callLimit)
		err = do(limited, parleyv1.NewChatServiceClient(channel))
		cancel()
		channel.Close()
		if err == nil || ctx.Err() != nil {
			return err
		}
		refused := toRefused(status.Convert(err))
		if !refused.isPassing() {
			return refused
		}
		wait := pause(attempt, refused.RetryDelay)
		slog.Info("a call failed", "why", refused, "next_in", wait)
		sleep(ctx, wait)
	}
}

func (s *Session) accessToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// refresh exchanges the tokens, unless that was done since token was in force.
func (s *Session) refresh(token string) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	if s.accessToken() != token {
		return nil
	}
	var answer *parleyv1.RefreshTokenResponse
	err := s.call(s.ctx, func(ctx context.Context, client parleyv1.ChatServiceClient) (err error) {
		answer, err = client.RefreshToken(ctx, s.renewal)
		return err
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeTokens(answer.AccessToken, answer.RefreshToken, answer.AccessExpireTime)
	s.hasFreshToken = true
	signal(s.wake)
	return nil
}

func (s *Session) takeTokens(access, refresh string, expire *timestamppb.Timestamp) {
	s.token = access
	// One id for all attempts to spend this refresh token: a second use with another one ends the login.
	s.renewal = &parleyv1.RefreshTokenRequest{RefreshToken: refresh, RequestId: rand.Text()}
	s.noteLife(expire)
}

// noteLife: the exchange is due a minute before the access token ends, or half-way, by the server's clock.
func (s *Session) noteLife(expire *timestamppb.Timestamp) {
	if s.clockAhead != nil {
		now := time.Now()
		life := expire.AsTime().Sub(now) - *s.clockAhead
		s.stale = now.Add(max(time.Second, life-time.Minute, life/2)) // by the monotonic clock
	}
}

// What goes out.

func (s *Session) makeHello() *parleyv1.ChatRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	s.helloID = s.lastID
	names := slices.DeleteFunc(slices.Collect(maps.Keys(s.positions)), func(name string) bool {
		return s.positions[name].moved == 0
	})
	slices.SortFunc(names, func(a, b string) int { return s.positions[b].moved - s.positions[a].moved })
	hello := &parleyv1.Hello{
		DeviceId:       s.options.DeviceID,
		Start:          parleyv1.Start_START_FROM_ACKS,
		Heartbeat:      durationpb.New(s.options.Heartbeat),
		Epoch:          s.epoch,
		WindowMessages: int64(max(1, windowEntries-len(s.inbox))),
	}
	for _, name := range names[:min(len(names), helloPositions)] { // the others begin after their acks
		hello.Positions = append(hello.Positions, &parleyv1.Position{ConversationId: name, Seq: s.positions[name].came})
	}
	return &parleyv1.ChatRequest{CorrelationId: s.helloID, Payload: &parleyv1.ChatRequest_Hello{Hello: hello}}
}

// takeFrames gives what is to be written, when there may be more, and whether our half of the stream may end then.
func (s *Session) takeFrames(now time.Time) (frames []*parleyv1.ChatRequest, due time.Time, isDone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due = now.Add(time.Hour)
	sooner := func(at time.Time) bool { // whether it is time; else it is noted
		if at.After(now) && at.Before(due) {
			due = at
		}
		return !at.After(now)
	}
	for _, sends := range s.outbox {
		if first := sends[0]; s.isWelcomed && s.leave.IsZero() && !first.isUnderWay && sooner(first.due) {
			s.lastID++
			first.isUnderWay, s.underWay[s.lastID] = true, first
			payload := &parleyv1.SendFrame{Requests: []*parleyv1.SendRequest{first.request}}
			frames = append(frames, &parleyv1.ChatRequest{
				CorrelationId: s.lastID, Payload: &parleyv1.ChatRequest_Send{Send: payload},
			})
		}
	}
	if s.isWelcomed && s.hasFreshToken {
		s.hasFreshToken = false
		payload := &parleyv1.ChatRequest_Authenticate{Authenticate: &parleyv1.Authenticate{AccessToken: s.token}}
		frames = append(frames, &parleyv1.ChatRequest{CorrelationId: quietID, Payload: payload})
	}
	if !s.stale.IsZero() && sooner(s.stale) {
		s.stale = time.Time{}
		go func(token string) { _ = s.refresh(token) }(s.token) // if that is refused, the stream will end for it
	}
	// All is answered, and the server or the program wants to go.
	isDone = s.isClosing && s.isLive && len(s.outbox) == 0 || !s.leave.IsZero() && len(s.underWay) == 0
	if s.isLive && len(s.untold) > 0 && (isDone || s.ackCount >= windowEntries/2 || sooner(s.tell)) {
		frames = append(frames, s.takeAcks()...)
		s.tell = now.Add(ackDelay)
	}
	return frames, due, isDone
}

func (s *Session) takeAcks() (frames []*parleyv1.ChatRequest) {
	for names := range slices.Chunk(slices.Collect(maps.Keys(s.untold)), ackPositions) {
		ack := &parleyv1.AckFrame{}
		for _, name := range names {
			ack.Positions = append(ack.Positions, &parleyv1.Position{ConversationId: name, Seq: s.positions[name].acked})
		}
		payload := &parleyv1.ChatRequest_Ack{Ack: ack}
		frames = append(frames, &parleyv1.ChatRequest{CorrelationId: quietID, Payload: payload})
	}
	clear(s.untold)
	s.ackCount = 0
	return frames
}

// What comes in.

// receive takes a frame. It gives an error when the hello was refused.
func (s *Session) receive(frame *parleyv1.ChatResponse) *Refused {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer signal(s.wake)
	defer signal(s.filled)
	for _, welcome := range frame.Welcomes {
		s.isWelcomed, s.streamEpoch, s.attempt = true, welcome.Epoch, 0
		ahead := time.Until(welcome.ServerTime.AsTime())
		s.clockAhead = &ahead
		s.noteLife(welcome.AccessExpireTime)
	}
	for _, reset := range frame.Resets {
		s.void(reset)
	}
	if len(frame.Messages)+len(frame.CaughtUp) > 0 {
		s.resume()
	}
	for _, message := range frame.Messages {
		if message.Seq > s.position(message.ConversationId).came { // else it came before
			s.move(message.ConversationId, message.Seq)
			s.inbox = append(s.inbox, Entry{Message: message})
		}
	}
	for _, mark := range frame.CaughtUp {
		s.move(mark.ConversationId, mark.Seq)
	}
	for _, result := range frame.Results {
		var refused *Refused
		if result.GetError() != nil {
			refused = toRefused(status.FromProto(result.GetError()))
		}
		s.settle(result.CorrelationId, result.GetAccepted(), refused)
	}
	for _, found := range frame.Errors {
		refused := toRefused(status.FromProto(found.Error))
		if found.CorrelationId == s.helloID && !s.isWelcomed {
			return refused
		}
		if found.CorrelationId == s.helloID {
			s.forget(refused.conversationID)
		}
		s.settle(found.CorrelationId, nil, refused)
	}
	for _, goAway := range frame.GoAways {
		s.leave = time.Now().Add(goAway.ReconnectDelay.AsDuration())
	}
	return nil
}

// resume: the first entry or mark; all resets came before it, and acks of the stream before may be lost.
func (s *Session) resume() {
	if !s.isLive {
		s.isLive = true
		for name, place := range s.positions {
			if place.acked > 0 {
				s.untold[name] = true
			}
		}
	}
	s.epoch = s.streamEpoch // not before: a stream that breaks between two resets brings all again
}

func (s *Session) move(conversationID string, seq int64) {
	if conversationID != "" {
		place := s.position(conversationID)
		s.moves++
		place.came, place.moved = max(place.came, seq), s.moves
	}
}

// settle takes the answer to a send; one to anything else changes nothing.
func (s *Session) settle(number int64, accepted *parleyv1.Accepted, refused *Refused) {
	answered, found := s.underWay[number]
	if !found {
		return
	}
	delete(s.underWay, number)
	answered.isUnderWay = false
	if refused != nil && refused.RetryDelay != nil { // for now: it keeps its place
		answered.due = time.Now().Add(pause(answered.attempt, refused.RetryDelay))
		answered.attempt++
		return
	}
	name := answered.request.ConversationId
	if s.outbox[name] = s.outbox[name][1:]; len(s.outbox[name]) == 0 {
		delete(s.outbox, name)
	}
	if answered.accepted = accepted; refused != nil {
		answered.err = refused
	}
	close(answered.answered)
}

// void: what came above a seq is void; in one step, before anything newer is looked at.
func (s *Session) void(reset *parleyv1.Reset) {
	if place := s.positions[reset.ConversationId]; place != nil {
		place.came, place.taken = min(place.came, reset.Seq), min(place.taken, reset.Seq)
		place.acked = min(place.acked, reset.Seq)
	}
	s.inbox = slices.DeleteFunc(slices.Clone(s.inbox), func(entry Entry) bool {
		return entry.Message.GetConversationId() == reset.ConversationId && entry.Message.GetSeq() > reset.Seq
	})
	s.inbox = append(s.inbox, Entry{Reset: reset})
}

// forget: a position of the hello is of a conversation that the user is not in.
func (s *Session) forget(conversationID string) {
	if s.positions[conversationID] != nil && s.streamEpoch != s.epoch { // made, or joined, after what was restored
		s.void(&parleyv1.Reset{ConversationId: conversationID, Epoch: s.streamEpoch})
	}
	delete(s.positions, conversationID)
	delete(s.untold, conversationID)
}
