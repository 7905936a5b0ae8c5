package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rest calls a server's REST interface with one key.
type rest struct {
	t   *testing.T
	d   *deployment // remembers secrets that come back
	url string
	key string
}

func (d *deployment) rest(s *server) *rest { return &rest{d.t, d, s.url, d.key} }

// as is the same client with another key.
func (c *rest) as(key string) *rest { return &rest{c.t, c.d, c.url, key} }

// in is the same client in a subtest.
func (c *rest) in(t *testing.T) *rest { return &rest{t, c.d, c.url, c.key} }

// object is a JSON object.
type object = map[string]any

type answer struct {
	t      *testing.T
	call   string
	status int
	header http.Header
	raw    []byte
}

var httpClient = &http.Client{
	Timeout:       30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// try makes a request; body is JSON text, or a value to encode, or nil. headers
// are "Name: value".
func (c *rest) try(method, path string, body any, headers ...string) (*answer, error) {
	var raw io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		raw = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		raw = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, c.url+path, raw)
	if err != nil {
		return nil, err
	}
	if raw != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return nil, err
	}
	return &answer{c.t, method + " " + path, resp.StatusCode, resp.Header, text}, nil
}

// do is try for requests that have to be answered.
func (c *rest) do(method, path string, body any, headers ...string) *answer {
	c.t.Helper()
	a, err := c.try(method, path, body, headers...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.header.Get("X-Request-Id") == "" {
		c.t.Errorf("%s: no X-Request-Id", a.call)
	}
	return a
}

// ok wants the status and answers the decoded object.
func (a *answer) ok(status int) object {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d\n%s", a.call, a.status, status, a.raw)
	}
	if status == http.StatusNoContent {
		return nil
	}
	return a.object()
}

func (a *answer) object() object {
	a.t.Helper()
	var o object
	if err := json.Unmarshal(a.raw, &o); err != nil {
		a.t.Fatalf("%s: %v\n%s", a.call, err, a.raw)
	}
	return o
}

// problem wants an RFC 9457 answer with the status, code and field.
func (a *answer) problem(status int, code, field string) object {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d\n%s", a.call, a.status, status, a.raw)
	}
	if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, "application/problem+json") {
		a.t.Errorf("%s: Content-Type %q, want application/problem+json", a.call, got)
	}
	p := a.object()
	if p["code"] != code || (field != "" && p["field"] != field) {
		a.t.Errorf("%s: code %v, field %v; want %s, %s\n%s", a.call, p["code"], p["field"], code, field, a.raw)
	}
	if p["status"] != float64(status) || p["request_id"] != a.header.Get("X-Request-Id") {
		a.t.Errorf("%s: status and request_id do not repeat those of the answer\n%s", a.call, a.raw)
	}
	for _, name := range []string{"type", "title", "detail"} {
		if text, _ := p[name].(string); text == "" {
			a.t.Errorf("%s: problem without %s\n%s", a.call, name, a.raw)
		}
	}
	if retryable, ok := p["retryable"].(bool); !ok || retryable != (status == 429 || status == 503) {
		a.t.Errorf("%s: retryable is %v", a.call, p["retryable"])
	}
	return p
}

// webhook registers a URL and answers the webhook, secret included.
func (c *rest) webhook(url string, events ...string) object {
	c.t.Helper()
	return c.createWebhook(object{"url": url, "events": events})
}

func (c *rest) createWebhook(body object) object {
	c.t.Helper()
	w := c.do("POST", "/api/v1/webhooks", body).ok(http.StatusCreated)
	secret := str(w, "secret")
	if secret == "" {
		c.t.Fatalf("a created webhook without its secret: %v", w)
	}
	c.d.secret("signing secret", secret)
	return w
}

// publish publishes an event and answers its id.
func (c *rest) publish(event string, data any) string {
	c.t.Helper()
	return str(c.do("POST", "/api/v1/events", object{"event": event, "data": data}).ok(http.StatusAccepted), "id")
}

// scan publishes a scan and answers the event's id.
func (c *rest) scan(qrCode any) string {
	c.t.Helper()
	return c.publish("scan", object{"qr_code_id": qrCode})
}

// list answers all rows of a list, page by page.
func (c *rest) list(path string) []object {
	c.t.Helper()
	var rows []object
	join := "?"
	if strings.Contains(path, "?") {
		join = "&"
	}
	for cursor := ""; ; {
		page := c.do("GET", path+join+"limit=100"+cursor, nil).ok(http.StatusOK)
		for _, row := range arr(page, "data") {
			rows = append(rows, asObject(row))
		}
		next, _ := page["next_cursor"].(string)
		if next == "" {
			return rows
		}
		cursor = "&cursor=" + next
	}
}

// delivery waits until the event's one delivery has the status and answers it
// with its attempts.
func (c *rest) delivery(eventID, status string, limit time.Duration) object {
	c.t.Helper()
	var found object
	eventually(c.t, limit, func() error {
		rows := c.list("/api/v1/deliveries?event_id=" + eventID)
		if len(rows) != 1 {
			return fmt.Errorf("event %s has %d deliveries", eventID, len(rows))
		}
		found = c.do("GET", "/api/v1/deliveries/"+str(rows[0], "id"), nil).ok(http.StatusOK)
		if found["status"] != status {
			return fmt.Errorf("delivery is %v", found)
		}
		return nil
	})
	return found
}

func str(o object, field string) string {
	s, _ := o[field].(string)
	return s
}

func arr(o object, field string) []any {
	a, _ := o[field].([]any)
	return a
}

func asObject(v any) object {
	o, _ := v.(object)
	return o
}
