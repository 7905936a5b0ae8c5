package dispatcher

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tellhook/tellhook/store"
)

// What is kept of a response, and how much more of its body is read so that the
// connection can be used again.
const (
	maxCapturedHeader = 8 << 10
	maxCapturedBody   = 16 << 10
	maxDrained        = 64 << 10
)

// exchange is one request and what came of it.
type exchange struct {
	report
	status    int // 0: no response
	header    http.Header
	captured  map[string][]string
	body      []byte
	truncated bool
	err       error
	expired   bool // the timeout ended it
	cut       bool // the drain's end cut it off: nobody knows what arrived
}

// request makes the request of an attempt. Its error, a *blockedError or a
// fault of the stored webhook, means that nothing may be sent.
func (d *Dispatcher) request(ctx context.Context, c *store.Claim, now time.Time) (*http.Request, error) {
	w := c.Webhook
	// The row may be older than the rules, or put in by SQL: judge it again.
	url, err := d.o.Egress.CanonicalURL(w.URL)
	if err != nil {
		return nil, &blockedError{"the webhook's URL", err.Error()}
	}
	if err := CheckHeaders(w.Headers, d.o.SignatureHeader); err != nil {
		return nil, err
	}
	body := c.Event.Body()
	// A bare reader leaves GetBody nil: the transport cannot send it twice.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return nil, err
	}
	req.ContentLength = int64(len(body))
	for name, value := range w.Headers {
		req.Header[name] = []string{value}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", d.o.UserAgent)
	req.Header.Set("X-Webhook-Event", c.Event.Type)
	req.Header.Set("X-Webhook-Delivery", c.Delivery.ID)
	req.Header.Set("X-Webhook-Attempt", strconv.Itoa(c.Delivery.Attempts))
	return req, Sign(req.Header, d.o.SignatureHeader, w.Secrets, c.Event.ID, now, body)
}

// send makes one exchange, bounded in time by the timeout and in size by the
// limits above.
func (d *Dispatcher) send(ctx context.Context, c *store.Claim) (x exchange) {
	sendCtx, cancel := context.WithTimeout(ctx, d.o.Timeout)
	defer cancel()
	t := new(trace)
	defer func() {
		x.report = t.report()
		x.expired = errors.Is(sendCtx.Err(), context.DeadlineExceeded)
		x.cut = x.err != nil && ctx.Err() != nil
	}()
	req, err := d.request(httptrace.WithClientTrace(sendCtx, t.hooks()), c, time.Now())
	if err != nil {
		x.err = err
		return x
	}
	// One round trip rather than Client.Do: what a redirect says is of no
	// interest, and an unreadable Location must not hide the status.
	resp, err := d.transport.RoundTrip(req)
	if err != nil {
		x.err = err
		return x
	}
	defer resp.Body.Close()
	x.status, x.header = resp.StatusCode, resp.Header
	x.captured, x.truncated = captureHeader(resp.Header)
	var cut bool
	x.body, cut, x.err = captureBody(resp.Body)
	x.truncated = x.truncated || cut
	return x
}

// captureHeader keeps the first maxCapturedHeader bytes of the header, in the
// order of the names, as valid UTF-8 without control characters.
func captureHeader(h http.Header) (captured map[string][]string, cut bool) {
	captured = make(map[string][]string, len(h))
	room := maxCapturedHeader
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			room -= len(name)
			if room <= 0 {
				return captured, true
			}
			kept := value[:min(len(value), room)]
			room -= len(kept)
			captured[name] = append(captured[name], printable(kept))
			if len(kept) < len(value) {
				return captured, true
			}
		}
	}
	return captured, false
}

// captureBody keeps the first maxCapturedBody bytes and reads on to the end
// where that is near. An end that is far is no error: the rest is left unread.
func captureBody(r io.Reader) (body []byte, cut bool, err error) {
	body, err = io.ReadAll(io.LimitReader(r, maxCapturedBody))
	if err != nil {
		return body, false, err
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(r, maxDrained))
	return body, rest > 0, err
}

// printable replaces what no page or database column should have to carry.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
