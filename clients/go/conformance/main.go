// Conformance is the runner on the Go stubs; ../../../conformance/README.md says what it must do.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc"

	"parley/clients/go"
)

// command is a line of standard input; which fields are set depends on what there is to do.
type command struct {
	Do             string
	Target         string
	Method         string
	Token          string
	Request        json.RawMessage
	Frame          json.RawMessage
	Stream         string
	DeadlineMS     *int64 `json:"deadline_ms"`
	CancelAfterMS  *int64 `json:"cancel_after_ms"`
	TimeoutMS      int64  `json:"timeout_ms"`
	CorrelationID  int64  `json:"correlation_id"`
	ConversationID string `json:"conversation_id"`
	Outstanding    int
	Count          int
	Session        string
	Ticket         string
	Text           string
	Username       string
	Password       string
	DeviceID       string `json:"device_id"`
	HeartbeatMS    int64  `json:"heartbeat_ms"`
	Seq            json.Number
}

// answer is a line of standard output.
type answer map[string]any

func main() {
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	write := func(line any) {
		if err := out.Encode(line); err != nil {
			fmt.Fprintln(os.Stderr, "can't write an answer:", err)
			os.Exit(1)
		}
	}
	about := fmt.Sprintf("%s, grpc-go %s", runtime.Version(), grpc.Version)
	write(answer{"runner": "go", "version": parley.Version, "runtime": about})
	runner := newRunner()
	for in := json.NewDecoder(os.Stdin); in.More(); {
		var asked command
		if err := in.Decode(&asked); err != nil {
			fmt.Fprintln(os.Stderr, "can't read a command:", err)
			os.Exit(1)
		}
		reply, err := runner.do(&asked)
		if err != nil {
			reply = answer{"failed": err.Error()}
		}
		write(reply)
	}
}

func (r *runner) do(asked *command) (answer, error) {
	if strings.HasPrefix(asked.Do, "session_") {
		return r.driveSession(asked)
	}
	switch asked.Do {
	case "call":
		return r.call(asked)
	case "page":
		return r.page(asked)
	case "measure":
		return r.measure(asked)
	case "open":
		return r.open(asked)
	}
	open, found := r.streams[asked.Stream]
	if !found {
		return nil, fmt.Errorf("nothing to %s: no stream %q", asked.Do, asked.Stream)
	}
	switch asked.Do {
	case "write":
		return open.write(asked.Frame)
	case "write_newer":
		return open.writeNewer(asked.CorrelationID)
	case "read":
		return open.read(time.Duration(asked.TimeoutMS) * time.Millisecond)
	case "close":
		return open.close()
	case "cancel":
		open.cancel()
		return answer{"cancelled": true}, nil
	}
	return nil, fmt.Errorf("there is no %q", asked.Do)
}
