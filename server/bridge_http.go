package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/tellhook/tellhook/store"
)

// maxAnswer bounds one message of the server, in bytes.
const maxAnswer = 16 << 20

// bridgeTransport dials the operator's own server, whose address a person gave
// to this process. It is no way out for URLs of teams.
func bridgeTransport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: bridgePatience,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   maxInFlight,
		ForceAttemptHTTP2:     true,
	}
}

// send posts one message with the headers that its era asks for.
func (b *bridge) send(ctx context.Context, m rpcMessage, line []byte, held legacySession) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.endpoint, bytes.NewReader(line))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if version := modernVersion(m.Params); version != "" {
		b.sign(r, legacySession{version: version})
		for name, value := range mcp.StandardHeaders(version, mcp.MCPMethod(m.Method), m.Params) {
			r.Header.Set(name, value)
		}
	} else {
		b.sign(r, held)
	}
	response, err := b.config.Client.Do(r)
	if err != nil {
		return nil, unreachable(err, b.endpoint)
	}
	return response, nil
}

// sign sets what each request of the bridge carries.
func (b *bridge) sign(r *http.Request, held legacySession) {
	r.Header.Set("Authorization", "Bearer "+b.config.Key)
	r.Header.Set("User-Agent", b.config.UserAgent)
	if held.version != "" {
		r.Header.Set(mcp.HeaderProtocolVersion, held.version)
	}
	if held.id != "" {
		r.Header.Set(mcp.HeaderSessionID, held.id)
	}
}

// modernVersion answers the version that the message itself states, if it is
// 2026-07-28 or later.
func modernVersion(params json.RawMessage) string {
	var p struct {
		Meta *mcp.Meta `json:"_meta"`
	}
	if json.Unmarshal(params, &p) != nil {
		return ""
	}
	if version := p.Meta.ProtocolVersion(); mcp.IsModernProtocol(version) {
		return version
	}
	return ""
}

// unreachable words a request that got no answer. The cause never holds the key.
func unreachable(err error, endpoint string) error {
	var cause *url.Error
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return &store.Error{
		Code: store.CodeUnavailable, Err: err,
		Message: fmt.Sprintf("the Tellhook server at %s cannot be reached: %v; is it running, and is TELLHOOK_URL right?", endpoint, err),
	}
}

// relay writes the messages of an answer as lines. answered tells whether the
// response to m was among them.
func (b *bridge) relay(response *http.Response, m rpcMessage, line []byte) (answered bool, err error) {
	if response.StatusCode >= http.StatusMultipleChoices && !speaksRPC(response) {
		return false, refusal(response)
	}
	err = b.relayInto(response, func(message []byte) {
		var got rpcMessage
		if json.Unmarshal(message, &got) != nil {
			return // no JSON-RPC message; the request is told that it has no answer
		}
		if got.isResponse() && bytes.Equal(got.ID, m.ID) {
			answered = true
			if m.Method == string(mcp.MethodInitialize) {
				b.opened(response, message, line)
			}
		}
		b.out.write(message)
	})
	return answered, err
}

// speaksRPC tells whether a failed request was answered by MCP and not by the
// door in front of it.
func speaksRPC(response *http.Response) bool {
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return kind == "application/json"
}

// relayInto hands each message of an answer, compact, to each.
func (b *bridge) relayInto(response *http.Response, each func([]byte)) error {
	if response.StatusCode == http.StatusAccepted {
		return nil
	}
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if kind == "text/event-stream" {
		return readEvents(response.Body, func(data []byte) { compactInto(data, each) })
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return brokeOff(err)
	}
	if len(body) > maxAnswer {
		return store.Errorf(store.CodeTooLarge, "", "the server's answer is larger than %d bytes", maxAnswer)
	}
	compactInto(body, each)
	return nil
}

func brokeOff(err error) error {
	return &store.Error{Code: store.CodeUnavailable, Message: "the server's answer broke off; try again", Err: err}
}

func compactInto(message []byte, each func([]byte)) {
	var line bytes.Buffer
	if json.Compact(&line, message) == nil && line.Len() > 0 {
		each(line.Bytes())
	}
}

// readEvents hands the data of each server-sent event to each.
func readEvents(stream io.Reader, each func([]byte)) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(make([]byte, 0, 64<<10), maxAnswer)
	var data []byte
	for lines.Scan() {
		line := bytes.TrimSuffix(lines.Bytes(), []byte{'\r'})
		if len(line) == 0 {
			if len(data) > 0 {
				each(data)
			}
			data = data[:0]
			continue
		}
		if value, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			if len(data)+len(value) > maxAnswer {
				return store.Errorf(store.CodeTooLarge, "", "a message of the server is larger than %d bytes", maxAnswer)
			}
			data = append(append(data, bytes.TrimPrefix(value, []byte{' '})...), '\n')
		}
	}
	if err := lines.Err(); err != nil {
		return brokeOff(err)
	}
	return nil
}

// refusal words an answer that is no MCP message.
func refusal(response *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // what came is told as far as it came
	var problem struct {
		Detail string     `json:"detail"`
		Code   store.Code `json:"code"`
	}
	if json.Unmarshal(body, &problem) == nil && problem.Detail != "" && problem.Code != "" {
		if problem.Code == store.CodeInternal {
			problem.Code = store.CodeUnavailable // internal would hide the server's own reference
		}
		return &store.Error{Code: problem.Code, Message: "the server says: " + problem.Detail}
	}
	status := response.StatusCode
	code, hint := store.CodeUnavailable, ""
	switch {
	case status < http.StatusBadRequest:
		code, hint = store.CodeInvalid, "; it redirects to "+store.Clip(response.Header.Get("Location"), 200)+", so set TELLHOOK_URL to the server's own address"
	case status == http.StatusUnauthorized:
		code, hint = store.CodeUnauthenticated, "; is TELLHOOK_API_KEY right?"
	case status == http.StatusNotFound:
		code, hint = store.CodeNotFound, "; is TELLHOOK_URL the address of a Tellhook server?"
	case status == http.StatusRequestEntityTooLarge:
		code = store.CodeTooLarge
	case status == http.StatusTooManyRequests:
		code = store.CodeRateLimited
	case status < http.StatusInternalServerError:
		code = store.CodeForbidden
	}
	return store.Errorf(code, "", "the server answered %d %s%s", status, http.StatusText(status), hint)
}
