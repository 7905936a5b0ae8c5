package dispatcher

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tellhook/tellhook/store"
)

const testTimeout = time.Second

// sender makes a Dispatcher without a store, whose client trusts the roots.
func sender(t *testing.T, roots *x509.CertPool) *Dispatcher {
	t.Helper()
	d := New(nil, Options{Timeout: testTimeout, Egress: local, UserAgent: "Tellhook/test"})
	d.transport = newTransport(local, testTimeout, 8, roots, nil)
	t.Cleanup(d.transport.CloseIdleConnections)
	return d
}

func claimFor(url string) *store.Claim {
	return &store.Claim{
		Delivery: store.Delivery{ID: "dlv_1", TeamID: "team_1", WebhookID: "whk_1", EventID: "evt_1", EventType: "scan.created", Attempts: 1},
		Event: &store.Event{
			ID: "evt_1", Type: "scan.created", Timestamp: time.Date(2026, 2, 9, 14, 30, 0, 0, time.UTC),
			Data: json.RawMessage(`{"node_id":1}`),
		},
		Webhook: &store.Webhook{ID: "whk_1", URL: url, Secrets: []store.Secret{{Value: testSecret}}},
	}
}

// deliverTo makes one attempt and checks that it ended in time.
func deliverTo(t *testing.T, d *Dispatcher, c *store.Claim) store.Result {
	t.Helper()
	began := time.Now()
	r, recorded := d.deliver(t.Context(), c)
	if took := time.Since(began); took > testTimeout+500*time.Millisecond {
		t.Errorf("the attempt took %s", took)
	}
	if !recorded {
		t.Error("the attempt is not to be recorded")
	}
	return r
}

func TestRequestOnTheWire(t *testing.T) {
	t.Parallel()
	var got http.Header
	var body []byte
	var host string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, host = r.Header, r.Host
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	c := claimFor(server.URL + "/hooks?token=t0ken")
	c.Delivery.Attempts = 3
	c.Webhook.Headers = map[string]string{"X-Api-Key": "s3cret"}
	r := deliverTo(t, sender(t, nil), c)
	if r.Status != store.DeliverySucceeded || r.Attempt.RemoteIP != "127.0.0.1" || *r.Attempt.StatusCode != 200 {
		t.Fatalf("%+v", r)
	}
	want := `{"event":"scan.created","event_id":"evt_1","timestamp":"2026-02-09T14:30:00.000Z","data":{"node_id":1}}`
	if string(body) != want {
		t.Errorf("body %s, want %s", body, want)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "Tellhook/test", "X-Api-Key": "s3cret",
		"X-Webhook-Event": "scan.created", "X-Webhook-Delivery": "dlv_1", "X-Webhook-Attempt": "3",
		"Webhook-Id": "evt_1", "Content-Length": fmt.Sprint(len(want)),
		"Idempotency-Key": "", "Accept-Encoding": "", "Cookie": "", "Transfer-Encoding": "",
	} {
		if got.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, got.Get(name), value)
		}
	}
	if host != strings.TrimPrefix(server.URL, "http://") {
		t.Errorf("Host: %s", host)
	}
	if err := Verify(testSecret, got, body); err != nil {
		t.Error(err)
	}
	if err := VerifyPlain(testSecret, got.Get("X-Webhook-Signature"), body); err != nil {
		t.Error(err)
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		header http.Header
		kind   store.ErrorKind
		next   store.DeliveryStatus
		reason string
		least  time.Duration
	}{
		{status: 200, next: store.DeliverySucceeded},
		{status: 204, next: store.DeliverySucceeded},
		{status: 299, next: store.DeliverySucceeded},
		{status: 301, kind: store.ErrorRedirect, next: store.DeliveryPending, least: time.Minute},
		{status: 302, header: http.Header{"Location": {"http://169.254.169.254/latest"}}, kind: store.ErrorRedirect, next: store.DeliveryPending, least: time.Minute},
		{status: 307, header: http.Header{"Location": {"http://%zz"}}, kind: store.ErrorRedirect, next: store.DeliveryPending, least: time.Minute},
		{status: 304, kind: store.ErrorRedirect, next: store.DeliveryPending, least: time.Minute},
		{status: 400, kind: store.ErrorStatus, next: store.DeliveryPending, least: time.Minute},
		{status: 404, header: http.Header{"Retry-After": {"3600"}}, kind: store.ErrorStatus, next: store.DeliveryPending, least: time.Minute},
		{status: 500, kind: store.ErrorStatus, next: store.DeliveryPending, least: time.Minute},
		{status: 999, kind: store.ErrorStatus, next: store.DeliveryPending, least: time.Minute},
		{status: 410, kind: store.ErrorStatus, next: store.DeliveryFailed, reason: store.ReasonGone},
		{status: 429, header: http.Header{"Retry-After": {"3600"}}, kind: store.ErrorStatus, next: store.DeliveryPending, least: time.Hour},
		{status: 503, header: http.Header{"Retry-After": {"90"}}, kind: store.ErrorStatus, next: store.DeliveryPending, least: 90 * time.Second},
		{status: 503, header: http.Header{"Retry-After": {"1"}}, kind: store.ErrorStatus, next: store.DeliveryPending, least: time.Minute},
		{status: 503, header: http.Header{"Retry-After": {"999999"}}, kind: store.ErrorStatus, next: store.DeliveryPending, least: 24 * time.Hour},
	} {
		var requests atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			for name, values := range c.header {
				w.Header()[name] = values
			}
			w.WriteHeader(c.status)
		}))
		r := deliverTo(t, sender(t, nil), claimFor(server.URL))
		server.Close()
		a := r.Attempt
		if a.StatusCode == nil || *a.StatusCode != c.status || a.ErrorKind != c.kind || (a.Error == "") != (c.kind == "") {
			t.Errorf("%d: attempt %+v", c.status, a)
		}
		if r.Status != c.next || r.Reason != c.reason || r.Gone != (c.status == 410) || r.RetryIn != c.least {
			t.Errorf("%d %v: %s %s, retry in %s, want %s %s, %s", c.status, c.header, r.Status, r.Reason, r.RetryIn, c.next, c.reason, c.least)
		}
		if n := requests.Load(); n != 1 {
			t.Errorf("%d: %d requests", c.status, n)
		}
	}
}

func TestScheduleExhausted(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	defer server.Close()
	c := claimFor(server.URL)
	c.Delivery.Step = 3
	if r := deliverTo(t, sender(t, nil), c); r.Status != store.DeliveryFailed || r.Reason != store.ReasonExhausted {
		t.Errorf("%s %s", r.Status, r.Reason)
	}
}

func TestCapture(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 10<<20))
	_ = z.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		for i := range 20 {
			w.Header().Set(fmt.Sprintf("X-Flood-%02d", i), strings.Repeat("y", 1000))
		}
		_, _ = w.Write(bomb.Bytes())
	}))
	defer server.Close()
	a := deliverTo(t, sender(t, nil), claimFor(server.URL)).Attempt
	if !bytes.Equal(a.ResponseBody, bomb.Bytes()[:len(a.ResponseBody)]) || len(a.ResponseBody) == 0 {
		t.Error("the body is not what came over the wire")
	}
	size := 0
	for name, values := range a.ResponseHeaders {
		size += len(name) + len(strings.Join(values, ""))
	}
	if size > maxCapturedHeader || size < maxCapturedHeader/2 || !a.ResponseTruncated {
		t.Errorf("%d bytes of header kept, truncated %v", size, a.ResponseTruncated)
	}
	if captured, cut := captureHeader(http.Header{"X": {"a\xffb\x01c"}}); captured["X"][0] != "a\uFFFDb\uFFFDc" || cut {
		t.Errorf("%q", captured)
	}
	if a.Phases.Connect <= 0 || a.Phases.FirstByte <= 0 || a.Duration < a.Phases.Connect {
		t.Errorf("phases %+v of %s", a.Phases, a.Duration)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // failing handshakes are the point
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())

	r := deliverTo(t, sender(t, roots), claimFor(server.URL))
	if r.Status != store.DeliverySucceeded || r.Attempt.Phases.TLS <= 0 {
		t.Errorf("trusted: %+v", r.Attempt)
	}
	for name, c := range map[string]*store.Claim{
		"unknown authority": claimFor(server.URL),
		"another name":      claimFor(strings.Replace(server.URL, "127.0.0.1", "localhost", 1)),
		"no TLS":            claimFor("https://" + receiver(t, func(net.Conn) {})),
	} {
		d := sender(t, roots)
		if name == "unknown authority" {
			d = sender(t, nil)
		}
		if a := deliverTo(t, d, c).Attempt; a.ErrorKind != store.ErrorTLS {
			t.Errorf("%s: %s, %s", name, a.ErrorKind, a.Error)
		}
	}
}

func TestNoConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	a := deliverTo(t, sender(t, nil), claimFor("http://"+l.Addr().String()+"/x?token=t0ken")).Attempt
	if a.ErrorKind != store.ErrorConnect || !strings.Contains(a.Error, "connection refused") || strings.Contains(a.Error, "t0ken") {
		t.Errorf("%s, %s", a.ErrorKind, a.Error)
	}
}

// A kept-alive connection that breaks under a request must not make the client
// send that request again on its own.
func TestNoSilentSecondSend(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed below
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for answered := false; ; answered = true {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					requests.Add(1)
					if answered {
						return // the second request of a connection finds it closed
					}
					write(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			}()
		}
	}()
	d := sender(t, nil)
	first := deliverTo(t, d, claimFor("http://"+l.Addr().String()))
	second := deliverTo(t, d, claimFor("http://"+l.Addr().String()))
	if first.Status != store.DeliverySucceeded || second.Attempt.ErrorKind != store.ErrorConnect {
		t.Errorf("%+v, then %+v", first.Attempt, second.Attempt)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("two attempts made %d requests", n)
	}
}

// A row that breaks the rules or the sender fails its own delivery alone.
func TestPoisonRows(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer server.Close()
	for name, c := range map[string]struct {
		kind  store.ErrorKind
		spoil func(*store.Claim)
	}{
		"no webhook":    {store.ErrorInternal, func(c *store.Claim) { c.Webhook = nil }},
		"no event":      {store.ErrorInternal, func(c *store.Claim) { c.Event = nil }},
		"no secret":     {store.ErrorInternal, func(c *store.Claim) { c.Webhook.Secrets = nil }},
		"bad header":    {store.ErrorInternal, func(c *store.Claim) { c.Webhook.Headers = map[string]string{"content-length": "0"} }},
		"file URL":      {store.ErrorBlocked, func(c *store.Claim) { c.Webhook.URL = "file:///etc/passwd" }},
		"private":       {store.ErrorBlocked, func(c *store.Claim) { c.Webhook.URL = "http://10.0.0.1/" }},
		"a broken name": {store.ErrorBlocked, func(c *store.Claim) { c.Webhook.URL = "http://0x7f.1/" }},
	} {
		claim := claimFor(server.URL)
		c.spoil(claim)
		if r := deliverTo(t, sender(t, nil), claim); r.Attempt.ErrorKind != c.kind || r.Attempt.Error == "" || r.Status != store.DeliveryPending {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// What the drain's end cuts off is not recorded: nobody knows what arrived.
func TestCutOff(t *testing.T) {
	t.Parallel()
	address := receiver(t, func(net.Conn) { time.Sleep(testTimeout) })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if r, recorded := sender(t, nil).deliver(ctx, claimFor("http://"+address)); recorded {
		t.Errorf("recorded as %+v", r)
	}
}
