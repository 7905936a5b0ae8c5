package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
)

// BridgeConfig of Bridge. URL, Key, In and Out are required.
type BridgeConfig struct {
	URL       string // of the server's root or of its /mcp
	Key       string // an API key of that server
	In        io.Reader
	Out       io.Writer
	UserAgent string       // default Tellhook
	Client    *http.Client // default: timeouts, no proxy, no redirects
	Log       zerolog.Logger
}

// Times of the bridge.
const (
	bridgeDrain   = 30 * time.Second // for answers in flight after the end of stdin
	bridgeGoodbye = 2 * time.Second  // to end the session
	// bridgePatience is the wait for an answer's header: longer than any
	// operation's own deadline.
	bridgePatience = 2 * time.Minute
)

// Bridge speaks MCP over In and Out for a Tellhook server elsewhere: each line
// is posted to the server's /mcp under the key, each answer is written as a line
// when it comes, in any order. It knows both eras: it takes the headers of
// 2026-07-28 from the message, and keeps the session of older clients, which it
// opens anew when the server has lost it. What the server refuses, and a server
// that cannot be reached, become JSON-RPC errors under the request's id. It
// returns nil when In or ctx ends.
func Bridge(ctx context.Context, c BridgeConfig) error {
	endpoint, err := bridgeEndpoint(c.URL)
	if err != nil {
		return err
	}
	if c.Client == nil {
		transport := bridgeTransport()
		defer transport.CloseIdleConnections()
		c.Client = &http.Client{
			Transport: transport,
			// A redirect would carry the key to another place.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if c.UserAgent == "" {
		c.UserAgent = "Tellhook"
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := &bridge{
		config: c, endpoint: endpoint, running: newInFlight(),
		out: &lineWriter{out: c.Out, broken: cancel},
	}
	err = readLines(ctx, c.In, func(line []byte) { b.forward(ctx, line) }, func() {
		b.out.write(rpcError(nil, mcp.INVALID_REQUEST, fmt.Sprintf("the message is longer than %d bytes", maxLine), nil))
	})
	done := b.running.wait()
	select {
	case <-done:
	case <-ctx.Done():
		<-done // each post heeds its context
	case <-time.After(bridgeDrain):
		cancel()
		<-done
	}
	b.goodbye(context.WithoutCancel(ctx))
	if err == nil {
		err = b.out.failure()
	}
	return err
}

func bridgeEndpoint(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return "", store.Errorf(store.CodeInvalid, "url",
			"url: %q is not the address of a Tellhook server; write for example https://hooks.example.com", store.Clip(raw, 100))
	}
	u.RawQuery, u.Fragment = "", ""
	u.Path = strings.TrimSuffix(u.Path, "/")
	if !strings.HasSuffix(u.Path, "/mcp") {
		u.Path += "/mcp"
	}
	return u.String(), nil
}

type bridge struct {
	config   BridgeConfig
	endpoint string
	out      *lineWriter
	running  *inFlight

	mu      sync.Mutex // over the session's state
	session legacySession
	opening sync.Mutex // held while a lost session is opened anew
}

// legacySession is what a client before 2026-07-28 has negotiated.
type legacySession struct {
	id         string
	version    string
	initialize []byte // the client's own message, to open the session anew
}

func (b *bridge) forward(ctx context.Context, line []byte) {
	m, refused := parseMessage(line)
	switch {
	case refused != nil:
		b.out.write(refused)
	case m.Method == string(mcp.MethodInitialize) && len(m.ID) > 0:
		// What follows needs the session, so it waits.
		b.exchange(ctx, m, line)
	case m.Method == string(mcp.MethodNotificationCancelled):
		b.running.stop(m.Params) // ends the post; in 2026-07-28 that is the cancellation
		if b.current().id != "" {
			b.exchange(ctx, m, line)
		}
	case len(m.ID) == 0 || m.isResponse():
		b.exchange(ctx, m, line) // in order with what follows
	default:
		b.running.start(ctx, m.ID, func(ctx context.Context) { b.exchange(ctx, m, line) })
	}
}

// exchange posts a message and writes what comes back. A request always gets an
// answer, unless it was cancelled.
func (b *bridge) exchange(ctx context.Context, m rpcMessage, line []byte) {
	ask := len(m.ID) > 0 && !m.isResponse()
	if !ask {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 10*time.Second) // it holds up the lines behind it
		defer cancel()
	}
	answered, err := b.post(ctx, m, line)
	switch {
	case err == nil && (answered || !ask):
	case ctx.Err() != nil && ask:
	case !ask:
		b.config.Log.Warn().Err(err).Str("mcp_method", loggable(m.Method, 60)).Msg("message not delivered to the server")
	case err == nil:
		b.out.write(rpcError(m.ID, mcp.INTERNAL_ERROR, "the server's answer ended before the response; try again", nil))
	default:
		b.config.Log.Warn().Err(err).Str("mcp_method", loggable(m.Method, 60)).Msg("request failed")
		b.out.write(rpcFailure(ctx, m.ID, err))
	}
}

// post sends a message, once more in a new session where the server has lost
// the old one. answered tells whether a response to the message was written.
func (b *bridge) post(ctx context.Context, m rpcMessage, line []byte) (answered bool, err error) {
	held := b.current()
	answered, gone, err := b.attempt(ctx, m, line, held)
	if !gone {
		return answered, err
	}
	if held, err = b.reopen(ctx, held); err != nil {
		return false, err
	}
	answered, gone, err = b.attempt(ctx, m, line, held)
	if gone {
		err = store.Errorf(store.CodeUnavailable, "", "the server lost the MCP session twice; try again")
	}
	return answered, err
}

func (b *bridge) attempt(ctx context.Context, m rpcMessage, line []byte, held legacySession) (answered, gone bool, err error) {
	response, err := b.send(ctx, m, line, held)
	if err != nil {
		return false, false, err
	}
	defer response.Body.Close()
	if lost(response, m) {
		return false, true, nil
	}
	answered, err = b.relay(response, m, line)
	return answered, false, err
}

// lost tells whether the server answered that it does not know the session.
func lost(response *http.Response, m rpcMessage) bool {
	return response.StatusCode == http.StatusNotFound && m.Method != string(mcp.MethodInitialize) &&
		response.Request.Header.Get(mcp.HeaderSessionID) != ""
}

func (b *bridge) current() legacySession {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.session
}

// reopen repeats the client's initialize, unless another request has done it
// since. The client does not notice.
func (b *bridge) reopen(ctx context.Context, stale legacySession) (legacySession, error) {
	b.opening.Lock()
	defer b.opening.Unlock()
	if now := b.current(); now.id != stale.id {
		return now, nil
	}
	var m rpcMessage
	if err := json.Unmarshal(stale.initialize, &m); err != nil {
		return stale, err
	}
	response, err := b.send(ctx, m, stale.initialize, legacySession{})
	if err != nil {
		return stale, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return stale, refusal(response)
	}
	if err := b.relayInto(response, func(message []byte) { b.opened(response, message, stale.initialize) }); err != nil {
		return stale, err
	}
	initialized := []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	ack, err := b.send(ctx, rpcMessage{Method: "notifications/initialized"}, initialized, b.current())
	if err != nil {
		return stale, err
	}
	_ = ack.Body.Close()
	b.config.Log.Info().Msg("the server had lost the MCP session; opened it anew")
	return b.current(), nil
}

// opened notes the session that an initialize made.
func (b *bridge) opened(response *http.Response, message, initialize []byte) {
	var answer struct {
		Result struct {
			ProtocolVersion string `json:"protocolVersion"`
		} `json:"result"`
	}
	if json.Unmarshal(message, &answer) != nil || answer.Result.ProtocolVersion == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.session = legacySession{
		id: response.Header.Get(mcp.HeaderSessionID), version: answer.Result.ProtocolVersion, initialize: initialize,
	}
}

// goodbye ends the session, so that the server need not wait for it to idle out.
func (b *bridge) goodbye(ctx context.Context) {
	held := b.current()
	if held.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, bridgeGoodbye)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, b.endpoint, http.NoBody)
	if err != nil {
		return
	}
	b.sign(r, held)
	response, err := b.config.Client.Do(r)
	if err != nil {
		b.config.Log.Debug().Err(err).Msg("session not ended")
		return
	}
	_ = response.Body.Close()
}
