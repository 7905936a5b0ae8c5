package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tellhook/tellhook/server"
	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

// pipe is a client on the other side of stdin and stdout.
type pipe struct {
	t     *testing.T
	in    *io.PipeWriter
	lines chan string
	done  chan error
}

// run starts serve with pipes; they close at the end of the test.
func run(t *testing.T, serve func(ctx context.Context, in io.Reader, out io.Writer) error) *pipe {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p := &pipe{t: t, in: inW, lines: make(chan string, 100), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		p.done <- serve(ctx, inR, outW)
		_ = outW.Close()
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.lines)
		for lines := bufio.NewReader(outR); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			p.lines <- line
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = inW.Close()
		<-read
	})
	return p
}

func (p *pipe) send(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

type reply struct {
	JSONRPC string `json:"jsonrpc"`
	ID      any    `json:"id"`
	Method  string `json:"method"`
	Result  json.RawMessage
	Error   *struct {
		Code    int
		Message string
		Data    tools.Failure
	}
	raw string
}

func (p *pipe) receive() reply {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			p.t.Fatal("stdout has ended")
		}
		r := reply{raw: line}
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.JSONRPC != "2.0" {
			p.t.Fatalf("not a JSON-RPC line: %q %v", line, err)
		}
		return r
	case <-time.After(10 * time.Second):
		p.t.Fatal("no answer")
		return reply{}
	}
}

// finish ends stdin and waits for serve.
func (p *pipe) finish() error {
	p.t.Helper()
	_ = p.in.Close()
	select {
	case err := <-p.done:
		return err
	case <-time.After(10 * time.Second):
		p.t.Fatal("still running after the end of stdin")
		return nil
	}
}

func (f *fixture) stdio(key string) *pipe {
	return run(f.t, func(ctx context.Context, in io.Reader, out io.Writer) error {
		return server.ServeStdio(ctx, f.tools, func(ctx context.Context) (*tools.Caller, error) {
			return f.tools.Authenticate(ctx, key)
		}, in, out)
	})
}

func TestStdioServesBothEras(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	p := f.stdio(f.key(all()...))
	p.send(initializeBody)
	if r := p.receive(); !strings.Contains(string(r.Result), `"protocolVersion":"2025-11-25"`) {
		t.Errorf("initialize: %s", r.raw)
	}
	p.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	p.send(listTools)
	if r := p.receive(); len(toolNames(t, r.raw)) != len(all()) {
		t.Errorf("tools/list: %s", r.raw)
	}
	p.send(modernBody("m", "tools/call", `"name":"whoami"`))
	if r := p.receive(); r.ID != "m" || !strings.Contains(r.raw, f.team.ID) || !strings.Contains(r.raw, `"resultType":"complete"`) {
		t.Errorf("modern whoami: %s", r.raw)
	}
	p.send(modernBody("s", "subscriptions/listen", `"notifications":{"toolsListChanged":true}`))
	if r := p.receive(); r.Method != "notifications/subscriptions/acknowledged" {
		t.Errorf("first message of a subscription: %s", r.raw)
	}
	if r := p.receive(); r.ID != "s" {
		t.Errorf("end of a subscription to nothing: %s", r.raw)
	}
	if err := p.finish(); err != nil {
		t.Error(err)
	}
}

func TestStdioAnswersMalformedLines(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	p := f.stdio(f.key(all()...))
	for line, code := range map[string]int{
		"{":                   -32700,
		"hello":               -32700,
		"[" + listTools + "]": -32600,
		"42":                  -32600,
		`{"jsonrpc":"2.0","id":null,"method":"ping"}`: -32600,
		`{"id":1,"method":"ping"}`:                    -32600,
		strings.Repeat("x", 2<<20):                    -32600,
	} {
		p.send(line)
		if r := p.receive(); r.Error == nil || r.Error.Code != code {
			t.Errorf("%.40s: %s, want %d", line, r.raw, code)
		}
	}
	p.send("\n\r\n" + `{"jsonrpc":"2.0","id":9,"result":{}}`) // nothing, and an answer to nothing
	p.send(`{"jsonrpc":"2.0","id":10,"method":"ping"}`)
	if r := p.receive(); r.ID != 10.0 {
		t.Errorf("after malformed lines: %s", r.raw)
	}
}

func TestStdioAnswersALastLineWithoutNewline(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	key := f.key(all()...)
	var out strings.Builder
	err := server.ServeStdio(t.Context(), f.tools, func(ctx context.Context) (*tools.Caller, error) {
		return f.tools.Authenticate(ctx, key)
	}, strings.NewReader(initializeBody+"\n"+listTools), &out)
	if lines := strings.Count(out.String(), "\n"); err != nil || lines != 2 {
		t.Errorf("%v, %d lines: %s", err, lines, out.String())
	}
}

func TestStdioAsksForTheCallerWithEachMessage(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	key, id := f.keyWith(store.TeamScopes(), all()...)
	p := f.stdio(key)
	p.send(listTools)
	if r := p.receive(); r.Error != nil {
		t.Fatal(r.raw)
	}
	none := []string{}
	_, err := f.store.UpdateKey(t.Context(), f.team.ID, id, store.KeyPatch{Tools: &none})
	f.must(err)
	time.Sleep(time.Second)
	p.send(listTools)
	if r := p.receive(); r.Error == nil || r.Error.Data.Code != store.CodeForbidden || r.ID != 7.0 {
		t.Errorf("without tools: %s", r.raw)
	}
	f.revoke(id)
	time.Sleep(time.Second)
	p.send(listTools)
	if r := p.receive(); r.Error == nil || r.Error.Data.Code != store.CodeUnauthenticated || r.ID != 7.0 {
		t.Errorf("revoked: %s", r.raw)
	}
}

// blocked answers the caller when it is let, so that a request stays in flight.
type blocked struct {
	entered chan struct{}
	let     chan struct{}
	caller  *tools.Caller
}

func (b *blocked) authenticate(ctx context.Context) (*tools.Caller, error) {
	b.entered <- struct{}{}
	select {
	case <-b.let:
		return b.caller, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fixture) blocked() (*blocked, *pipe) {
	b := &blocked{entered: make(chan struct{}, 10), let: make(chan struct{}), caller: &tools.Caller{Team: *f.team, Scopes: store.TeamScopes(), AllTools: true}}
	return b, run(f.t, func(ctx context.Context, in io.Reader, out io.Writer) error {
		return server.ServeStdio(ctx, f.tools, b.authenticate, in, out)
	})
}

func TestStdioCancelsAndStaysSilentAboutIt(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	b, p := f.blocked()
	p.send(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	<-b.entered
	p.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	p.send(`{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	<-b.entered // so the line before has been read
	close(b.let)
	if r := p.receive(); r.ID != 2.0 {
		t.Errorf("the cancelled request was answered: %s", r.raw)
	}
	if err := p.finish(); err != nil {
		t.Error(err)
	}
}

func TestStdioFinishesWhatIsInFlightAtTheEnd(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	b, p := f.blocked()
	p.send(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	<-b.entered
	_ = p.in.Close()
	time.AfterFunc(100*time.Millisecond, func() { close(b.let) })
	if r := p.receive(); r.ID != 1.0 || r.Error != nil {
		t.Errorf("%s", r.raw)
	}
}

func TestStdioEndsWithItsContext(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	in, hold := io.Pipe()
	defer hold.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	began := time.Now()
	err := server.ServeStdio(ctx, f.tools, nil, in, io.Discard)
	if err != nil || time.Since(began) > time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestStdioEndsWhenNobodyReads(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	in, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = io.WriteString(w, "{\n") }()
	if err := server.ServeStdio(t.Context(), f.tools, nil, in, brokenPipe{}); err == nil {
		t.Error("no error of a broken stdout")
	}
}
