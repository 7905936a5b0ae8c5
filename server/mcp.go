package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

const (
	bodyDeadline      = 30 * time.Second       // to send a message's body
	keepAlive         = 25 * time.Second       // below the 30 to 60 s after which proxies drop silent streams
	recheckEvery      = 100 * time.Millisecond // of an open stream's key; with what tools trusts it for, below a second
	streamsPerSession = 8
)

// mcpFront stands before the library's two HTTP transports and adds what they
// lack: a body limit, sessions bound to keys, streams that end with their key.
type mcpFront struct {
	server   *Server
	sessions *sessions
	http     *mcpserver.StreamableHTTPServer
	sse      *mcpserver.SSEServer
}

func newMCPFront(s *Server) *mcpFront {
	f := &mcpFront{server: s, sessions: newSessions()}
	core := s.config.Tools.MCP()
	f.http = mcpserver.NewStreamableHTTPServer(core,
		mcpserver.WithSessionIdManagerResolver(f.sessions),
		mcpserver.WithHeartbeatInterval(keepAlive),
		mcpserver.WithDisableLocalhostProtection(true), // origins does it, for every address
		mcpserver.WithStreamableHTTPLogger(slog.New(slog.NewTextHandler(libraryLog{s.log}, nil))),
	)
	f.sse = mcpserver.NewSSEServer(core,
		mcpserver.WithStaticBasePath(s.clientPath()),
		mcpserver.WithKeepAliveInterval(keepAlive),
		mcpserver.WithSSEDisableLocalhostProtection(true),
		// Any configuration keeps it from answering Access-Control-Allow-Origin: *.
		mcpserver.WithSSECORS(mcpserver.WithCORSAllowedOrigins("null-origin.invalid")),
		mcpserver.WithSessionIDGenerator(func(ctx context.Context, _ *http.Request) (string, error) {
			held, _ := ctx.Value(heldKey{}).(*session)
			if held == nil {
				return "", errNoSession
			}
			return held.id, nil
		}),
	)
	f.sessions.forget = func(id string) {
		// The library frees a session's state on DELETE only.
		f.http.Handle(discard{}, &mcpserver.HTTPRequest{
			Method: http.MethodDelete, URL: &url.URL{}, Context: context.Background(),
			Header: http.Header{mcp.HeaderSessionID: {id}},
		})
	}
	return f
}

// clientPath is the path of the handler's root as the client sees it.
func (s *Server) clientPath() string {
	if u, err := url.Parse(s.config.PublicURL); err == nil && s.config.PublicURL != "" {
		return u.Path
	}
	return s.config.BasePath
}

// envelope is what the front must know of a message.
type envelope struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Name string    `json:"name"`
		Meta *mcp.Meta `json:"_meta"`
	} `json:"params"`
}

// streamable serves /mcp: 2026-07-28 without sessions, older revisions with.
func (f *mcpFront) streamable(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Accel-Buffering", "no")   // for the answers that become streams
	w.Header().Set("Cache-Control", "no-store") // an answer may hold a secret
	modern := mcp.IsModernProtocol(r.Header.Get(mcp.HeaderProtocolVersion))
	switch r.Method {
	case http.MethodPost:
		f.post(w, r, modern)
	case http.MethodGet:
		if modern {
			f.http.ServeHTTP(w, r) // 405: no such stream in this revision
			return
		}
		f.listen(w, r)
	case http.MethodDelete:
		if _, err := f.sessionOf(r); !modern && err != nil {
			tools.WriteError(w, r, err)
			return
		}
		f.http.ServeHTTP(w, r)
	default:
		tools.WriteMethodNotAllowed(w, r, "GET, POST, DELETE")
	}
}

func (f *mcpFront) post(w http.ResponseWriter, r *http.Request, modern bool) {
	m, err := f.peek(w, r)
	if err != nil {
		tools.WriteError(w, r, err)
		return
	}
	modern = modern || mcp.IsModernProtocol(m.Params.Meta.ProtocolVersion())

	switch {
	case modern && m.Method == string(mcp.MethodNotificationCancelled):
		// Closing the stream cancels in this revision. The library would look
		// the id up among all callers' requests.
		w.WriteHeader(http.StatusAccepted)
		return
	case modern && m.Method == string(mcp.MethodSubscriptionsListen):
		held, release := f.hold(r, nil)
		defer release()
		r = held
	case !modern && m.Method != string(mcp.MethodInitialize):
		if _, err := f.sessionOf(r); err != nil {
			tools.WriteError(w, r, err)
			return
		}
	}
	f.http.ServeHTTP(w, r)
}

// listen serves the stream of server messages of the older revisions.
func (f *mcpFront) listen(w http.ResponseWriter, r *http.Request) {
	held, err := f.sessionOf(r)
	if err != nil {
		tools.WriteError(w, r, err)
		return
	}
	if !f.sessions.enter(held) {
		tools.WriteError(w, r, store.Errorf(store.CodeRateLimited, "", "this MCP session has %d open streams already; close one", streamsPerSession))
		return
	}
	defer f.sessions.leave(held)
	r, release := f.hold(r, held)
	defer release()
	f.http.ServeHTTP(w, r)
}

// sessionOf answers the caller's session that the request names.
func (f *mcpFront) sessionOf(r *http.Request) (*session, error) {
	id := r.Header.Get(mcp.HeaderSessionID)
	if id == "" {
		return nil, store.Errorf(store.CodeInvalid, mcp.HeaderSessionID,
			"there is no %s header; send initialize first and then the id that it answers, or speak revision %s, which has no sessions", mcp.HeaderSessionID, mcp.ProtocolVersion20260728)
	}
	return f.sessions.use(id, principal(r.Context()))
}

type heldKey struct{}

// openSSE serves the stream of the oldest transport. The session lives as long.
func (f *mcpFront) openSSE(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		tools.WriteMethodNotAllowed(w, r, http.MethodGet)
		return
	}
	owner := principal(r.Context())
	id := f.sessions.open(owner)
	defer f.sessions.close(id, owner)
	held, err := f.sessions.use(id, owner)
	if err != nil || !f.sessions.enter(held) {
		tools.WriteError(w, r, errNoSession) // gave way to others at once
		return
	}
	defer f.sessions.leave(held)
	r, release := f.hold(r, held)
	defer release()
	w.Header().Set("X-Accel-Buffering", "no")
	f.sse.SSEHandler().ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), heldKey{}, held)))
}

// message takes the messages of the oldest transport. The session's id stands in
// the query, where it is no secret, so the key must be the stream's own.
func (f *mcpFront) message(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		tools.WriteMethodNotAllowed(w, r, http.MethodPost)
		return
	}
	if _, err := f.sessions.use(r.URL.Query().Get("sessionId"), principal(r.Context())); err != nil {
		tools.WriteError(w, r, err)
		return
	}
	if _, err := f.peek(w, r); err != nil {
		tools.WriteError(w, r, err)
		return
	}
	f.sse.MessageHandler().ServeHTTP(w, r)
}

// peek reads a message for what the front and the log need of it, and leaves it
// to be read again. What is wrong with it is the library's to say.
func (f *mcpFront) peek(w http.ResponseWriter, r *http.Request) (envelope, error) {
	var m envelope
	body, err := f.server.readBody(w, r)
	if err != nil {
		return m, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	_ = json.Unmarshal(body, &m)
	seen := exchangeOf(r.Context())
	seen.method = m.Method
	if m.Method == string(mcp.MethodToolsCall) {
		seen.tool = m.Params.Name
	}
	return m, nil
}

// readBody reads a message whole, within the limits; the library has none.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyDeadline)) // not there in every host program
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.config.MaxBodyBytes))
	_ = control.SetReadDeadline(time.Time{})
	if err == nil {
		return body, nil
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, store.Errorf(store.CodeTooLarge, "", "the request's body is larger than %d bytes", tooLarge.Limit)
	}
	return nil, &store.Error{Code: store.CodeInvalid, Message: "the request's body broke off", Err: err}
}

// hold gives a request that stays open a context that ends with its session,
// with the server, and when its key is revoked or loses its last tool.
func (f *mcpFront) hold(r *http.Request, held *session) (*http.Request, func()) {
	ctx, cancel := context.WithCancel(r.Context())
	stop := []func() bool{context.AfterFunc(f.server.streams, cancel)}
	if held != nil {
		stop = append(stop, context.AfterFunc(held.ctx, cancel))
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		f.watch(ctx, r)
		cancel()
	}()
	return r.WithContext(ctx), func() {
		cancel()
		<-watched
		for _, undo := range stop {
			undo()
		}
	}
}

// watch returns when ctx ends or the key of the request stops being good. A
// database that is away proves nothing against the key.
func (f *mcpFront) watch(ctx context.Context, r *http.Request) {
	r = r.WithContext(ctx)
	owner := principal(ctx)
	ticker := time.NewTicker(recheckEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		caller, err := f.server.config.Authenticate(r)
		code := store.CodeOf(err)
		switch {
		case code == store.CodeUnauthenticated || code == store.CodeForbidden:
			return
		case err == nil && (!caller.AnyTool() || principal(tools.WithCaller(ctx, caller)) != owner):
			return
		}
	}
}

// discard is the answer that nobody waits for: an mcpserver.HTTPResponseWriter.
type discard struct{}

// Header implements it.
func (discard) Header() http.Header { return http.Header{} }

// WriteHeader implements it.
func (discard) WriteHeader(int) {}

// Write implements it.
func (discard) Write(b []byte) (int, error) { return len(b), nil }

// Flush implements it.
func (discard) Flush() {}

// CanStream implements it.
func (discard) CanStream() bool { return false }
