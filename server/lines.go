package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

// maxLine bounds one JSON-RPC message on stdio: a body's limit and the frame.
const maxLine = defaultMaxBody + 64<<10

// maxInFlight is how many requests of one stdio client are served at a time.
const maxInFlight = 64

// readLines sends the lines of in, without the newline and empty ones left out,
// to each. It returns nil at the end, and early when ctx ends: then the reading
// goroutine stays behind until in answers, as a read cannot be taken back. A
// line over maxLine is skipped and reported to tooLong.
func readLines(ctx context.Context, in io.Reader, each func([]byte), tooLong func()) error {
	type read struct {
		line []byte
		long bool
		err  error
	}
	reads := make(chan read)
	go func() {
		defer close(reads)
		r := bufio.NewReaderSize(in, 64<<10)
		for {
			line, long, err := readLine(r)
			select {
			case reads <- read{line, long, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case got := <-reads:
			switch line := bytes.TrimSpace(got.line); {
			case got.long:
				tooLong()
			case len(line) > 0:
				each(line)
			}
			if errors.Is(got.err, io.EOF) {
				return nil
			}
			if got.err != nil {
				return got.err
			}
		}
	}
}

// readLine answers one line. A last line without a newline counts.
func readLine(r *bufio.Reader) (line []byte, long bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if !long && len(line)+len(part) > maxLine {
			line, long = nil, true
		}
		if !long {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, long, err
		}
	}
}

// lineWriter writes JSON-RPC messages, one a line. The first error sticks, and
// broken is called once for it.
type lineWriter struct {
	mu     sync.Mutex
	out    io.Writer
	err    error
	broken func()
}

func (w *lineWriter) write(line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	if _, w.err = w.out.Write(append(line, '\n')); w.err != nil {
		w.broken()
	}
}

func (w *lineWriter) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// inFlight are the requests being served for one client, by id.
type inFlight struct {
	slots chan struct{}
	group sync.WaitGroup

	mu     sync.Mutex
	cancel map[string]context.CancelFunc
}

func newInFlight() *inFlight {
	return &inFlight{slots: make(chan struct{}, maxInFlight), cancel: map[string]context.CancelFunc{}}
}

// start runs serve for the request on a goroutine of its own, and waits while
// too many run. serve's context ends when the request is cancelled.
func (f *inFlight) start(ctx context.Context, id json.RawMessage, serve func(context.Context)) {
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	key := string(id)
	f.mu.Lock()
	f.cancel[key] = cancel
	f.mu.Unlock()
	f.group.Go(func() {
		defer func() {
			f.mu.Lock()
			delete(f.cancel, key)
			f.mu.Unlock()
			cancel()
			<-f.slots
		}()
		serve(ctx)
	})
}

// stop cancels the request that a notifications/cancelled names.
func (f *inFlight) stop(params json.RawMessage) {
	var p struct {
		RequestID json.RawMessage `json:"requestId"`
	}
	if json.Unmarshal(params, &p) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if cancel := f.cancel[string(p.RequestID)]; cancel != nil {
		cancel()
	}
}

// wait answers a channel that closes when nothing runs any more.
func (f *inFlight) wait() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		f.group.Wait()
		close(done)
	}()
	return done
}

// rpcMessage is a JSON-RPC message, as far as stdio must know it.
type rpcMessage struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// isResponse tells whether the message answers a request of the server.
func (m *rpcMessage) isResponse() bool {
	return m.Method == "" && (len(m.Result) > 0 || len(m.Error) > 0)
}

// parseMessage refuses what has no place on a line: broken JSON, batches, which
// the protocol dropped, and ids that are neither string nor number.
func parseMessage(line []byte) (m rpcMessage, refused []byte) {
	if !json.Valid(line) {
		return m, rpcError(nil, mcp.PARSE_ERROR, "the line is not valid JSON; send one JSON-RPC message a line", nil)
	}
	if json.Unmarshal(line, &m) != nil {
		return m, rpcError(nil, mcp.INVALID_REQUEST, "the line is not a JSON-RPC message; send one object a line, no batches", nil)
	}
	if len(m.ID) > 0 && m.ID[0] != '"' && m.ID[0] != '-' && (m.ID[0] < '0' || m.ID[0] > '9') {
		return m, rpcError(nil, mcp.INVALID_REQUEST, "the id is neither a string nor a number", nil)
	}
	return m, nil
}

// rpcError makes an error response. With a nil id it speaks of a message whose
// id is unknown.
func rpcError(id json.RawMessage, code int, message string, data any) []byte {
	if len(id) == 0 {
		id = json.RawMessage("null")
	}
	type details struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}
	b, _ := json.Marshal(struct { // of these types, Marshal cannot fail
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   details         `json:"error"`
	}{mcp.JSONRPC_VERSION, id, details{code, message, data}})
	return b
}

// rpcFailure is rpcError for an error of ours. The protocol has no number for a
// refused key, and reserves those it does not use.
func rpcFailure(ctx context.Context, id json.RawMessage, err error) []byte {
	f := tools.FailureOf(ctx, err)
	code := mcp.INVALID_REQUEST
	if f.Code == store.CodeInternal || f.Retryable {
		code = mcp.INTERNAL_ERROR
	}
	return rpcError(id, code, f.Message, f)
}
