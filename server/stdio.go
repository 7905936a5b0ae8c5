package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/tools"
)

// stdioDrain bounds the wait for requests in flight after the end of stdin.
const stdioDrain = 10 * time.Second

// ServeStdio speaks MCP over in and out, one JSON-RPC message a line, until in
// or ctx ends; then it answers nil. authenticate is asked for each message, so a
// revoked key stops working at once. Requests run side by side and are answered
// as they finish. Faults are logged to the context's logger.
//
// The library's own stdio server asks for the caller once, reads lines of any
// length, and drops a last line without a newline.
func ServeStdio(ctx context.Context, t *tools.Tools, authenticate func(context.Context) (*tools.Caller, error), in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	session := mcpserver.NewInProcessSession("stdio", nil)
	s := &stdio{
		core: t.MCP(), session: session, authenticate: authenticate,
		out: &lineWriter{out: out, broken: cancel}, running: newInFlight(),
	}
	if err := s.core.RegisterSession(ctx, session); err != nil {
		return err
	}
	defer s.core.UnregisterSession(ctx, session.SessionID())

	err := readLines(ctx, in, func(line []byte) { s.serve(ctx, line) }, func() {
		s.out.write(rpcError(nil, mcp.INVALID_REQUEST, fmt.Sprintf("the message is longer than %d bytes", maxLine), nil))
	})
	done := s.running.wait()
	select {
	case <-done:
	case <-ctx.Done():
		<-done // each request heeds its context
	case <-time.After(stdioDrain):
		cancel()
		<-done
	}
	if err == nil {
		err = s.out.failure()
	}
	return err
}

type stdio struct {
	core         *mcpserver.MCPServer
	session      *mcpserver.InProcessSession
	authenticate func(context.Context) (*tools.Caller, error)
	out          *lineWriter
	running      *inFlight
}

func (s *stdio) serve(ctx context.Context, line []byte) {
	m, refused := parseMessage(line)
	switch {
	case refused != nil:
		s.out.write(refused)
	case m.Method == string(mcp.MethodNotificationCancelled):
		s.running.stop(m.Params)
	case m.isResponse(): // this server asks nothing
	case len(m.ID) == 0:
		s.answer(ctx, m, line) // nothing to write, but in order with what follows
	default:
		s.running.start(ctx, m.ID, func(ctx context.Context) {
			if answer := s.answer(ctx, m, line); answer != nil && ctx.Err() == nil {
				s.send(answer)
			}
		})
	}
}

// answer handles one message. It is nil for notifications.
func (s *stdio) answer(ctx context.Context, m rpcMessage, line []byte) (answer []byte) {
	ctx = tools.WithRequestID(ctx, tools.NewRequestID())
	defer func() {
		if p := recover(); p != nil {
			zerolog.Ctx(ctx).Error().Str("request_id", tools.RequestID(ctx)).Str("panic", fmt.Sprint(p)).
				Bytes("stack", debug.Stack()).Msg("panic in a message")
			answer = rpcFailure(ctx, m.ID, fmt.Errorf("panic: %v", p))
		}
	}()
	caller, err := s.authenticate(ctx)
	if err == nil && !caller.AnyTool() {
		err = errNoTools(caller)
	}
	if err != nil {
		return s.refuse(ctx, m, err)
	}
	ctx = s.core.WithContext(tools.WithCaller(ctx, caller), s.session)
	response := s.core.HandleMessage(ctx, line)
	if response == nil {
		return nil
	}
	b, err := json.Marshal(response)
	if err != nil {
		return s.refuse(ctx, m, err)
	}
	return b
}

func (s *stdio) refuse(ctx context.Context, m rpcMessage, err error) []byte {
	zerolog.Ctx(ctx).Warn().Err(err).Str("request_id", tools.RequestID(ctx)).Str("mcp_method", loggable(m.Method, 60)).Msg("message refused")
	if len(m.ID) == 0 {
		return nil
	}
	return rpcFailure(ctx, m.ID, err)
}

// send writes an answer behind the notifications that its handler has sent.
func (s *stdio) send(answer []byte) {
	for {
		select {
		case n := <-s.session.ClientNotifications():
			if b, err := json.Marshal(n); err == nil {
				s.out.write(b)
			}
			continue
		default:
		}
		s.out.write(answer)
		return
	}
}
