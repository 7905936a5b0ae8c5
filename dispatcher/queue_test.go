package dispatcher

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tellhook/tellhook/store"
)

// queue is a Store in memory for tests that need synctest's clock, which no
// database follows: the queue's methods alone, with the leases and the fence of
// the interface. Tests on the real stores are in run_test.go and e2e.
type queue struct {
	store.Store
	mu     sync.Mutex
	rows   []*row
	err    error // what every call answers while set
	poison string
	stall  time.Duration // between a claim and its answer
	calls  int
	late   int // outcomes that the fence kept out
}

type row struct {
	store.Claim
	due, lease time.Time
	attempts   []store.Attempt
}

func (q *queue) enter() (func(), error) {
	q.mu.Lock()
	q.calls++
	return q.mu.Unlock, q.err
}

func (q *queue) add(webhook, url string, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := &store.Webhook{ID: webhook, URL: url, Secrets: []store.Secret{{Value: testSecret}}}
	for range n {
		id := fmt.Sprintf("%04d", len(q.rows))
		q.rows = append(q.rows, &row{due: time.Now(), Claim: store.Claim{
			Delivery: store.Delivery{ID: "dlv_" + id, WebhookID: webhook, EventID: "evt_" + id, Status: store.DeliveryPending},
			Event:    &store.Event{ID: "evt_" + id, Type: "scan", Data: json.RawMessage("{}")},
			Webhook:  w,
		}})
	}
}

func (q *queue) find(id string) *row {
	return q.rows[slices.IndexFunc(q.rows, func(r *row) bool { return r.Delivery.ID == id })]
}

func (q *queue) ClaimDeliveries(_ context.Context, limit int, lease time.Duration, full []string) ([]store.Claim, error) {
	leave, err := q.enter()
	stall := q.stall
	defer time.Sleep(stall)
	defer leave()
	var claims []store.Claim
	now := time.Now()
	for _, r := range q.rows {
		if err != nil || len(claims) == limit {
			break
		}
		if r.Delivery.Status == store.DeliveryPending && r.lease.IsZero() && !r.due.After(now) && !slices.Contains(full, r.Delivery.WebhookID) {
			r.Delivery.Attempts++
			r.lease = now.Add(lease)
			claims = append(claims, r.Claim)
		}
	}
	return claims, err
}

func (q *queue) RecordAttempts(_ context.Context, results []store.Result) ([]store.Recorded, error) {
	leave, err := q.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(results, func(r store.Result) bool { return r.Attempt.DeliveryID == q.poison }) {
		return nil, &store.Error{Code: store.CodeInternal, Message: "a row that does not fit"}
	}
	recorded := make([]store.Recorded, len(results))
	now := time.Now()
	for i, result := range results {
		r := q.find(result.Attempt.DeliveryID)
		if r.Delivery.Attempts != result.Attempt.Number || !r.lease.After(now) {
			q.late++
			continue
		}
		recorded[i].Applied = true
		r.attempts = append(r.attempts, result.Attempt)
		r.Delivery.Status, r.Delivery.Reason = result.Status, result.Reason
		r.Delivery.Step++
		r.lease, r.due = time.Time{}, now.Add(result.RetryIn)
	}
	return recorded, nil
}

func (q *queue) ReleaseDeliveries(_ context.Context, claims []store.Claim) error {
	leave, err := q.enter()
	defer leave()
	for _, c := range claims {
		if r := q.find(c.Delivery.ID); err == nil && r.Delivery.Attempts == c.Delivery.Attempts && !r.lease.IsZero() {
			r.Delivery.Attempts--
			r.lease = time.Time{}
		}
	}
	return err
}

func (q *queue) ReclaimLapsed(context.Context, int) (n int, err error) {
	leave, err := q.enter()
	defer leave()
	for _, r := range q.rows {
		if err == nil && !r.lease.IsZero() && !r.lease.After(time.Now()) {
			r.attempts = append(r.attempts, store.Attempt{Number: r.Delivery.Attempts, ErrorKind: store.ErrorUnknown})
			r.lease = time.Time{}
			n++
		}
	}
	return n, err
}

func (q *queue) Wakeups(ctx context.Context) <-chan struct{} {
	wake := make(chan struct{})
	context.AfterFunc(ctx, func() { close(wake) })
	return wake
}

func (q *queue) Prune(context.Context, time.Time) (store.Pruned, error) {
	leave, err := q.enter()
	defer leave()
	return store.Pruned{}, err
}

func (q *queue) setErr(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
}

func (q *queue) called() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.calls
}

// unknown counts the attempts that were written for senders that let their
// lease lapse.
func (q *queue) unknown() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.rows {
		for _, a := range r.attempts {
			if a.ErrorKind == store.ErrorUnknown {
				n++
			}
		}
	}
	return n
}

// count answers how many deliveries are in the state, and how many are leased.
func (q *queue) count(status store.DeliveryStatus) (n, leased int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.rows {
		if r.Delivery.Status == status {
			n++
		}
		if !r.lease.IsZero() {
			leased++
		}
	}
	return n, leased
}

// wire is a network of pipes, on which synctest's clock runs: every connection
// leads to one handler. It counts what is in flight.
type wire struct {
	handler  func(w http.ResponseWriter, r *http.Request)
	timeout  time.Duration
	conns    chan net.Conn
	mu       sync.Mutex
	requests map[string]int // by webhook-id and attempt
	inFlight map[string]int // by host, and "" for all
	most     map[string]int
}

func (w *wire) Accept() (net.Conn, error) {
	c, ok := <-w.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (w *wire) Close() error   { return nil }
func (w *wire) Addr() net.Addr { return &net.IPAddr{} }

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then does a broken connection end its context
	w.count(r, 1)
	end := sync.OnceFunc(func() { w.count(r, -1) })
	defer end()
	// For the client a hung request ends with its timeout; here it ends only
	// once the broken connection is noticed.
	defer time.AfterFunc(w.timeout-time.Millisecond, end).Stop()
	w.handler(rw, r)
}

func (w *wire) count(r *http.Request, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, host := range []string{"", r.Host} {
		w.inFlight[host] += n
		w.most[host] = max(w.most[host], w.inFlight[host])
	}
	if n > 0 {
		w.requests[r.Header.Get("webhook-id")+" "+r.Header.Get("X-Webhook-Attempt")]++
	}
}

// onWire makes a Dispatcher whose connections go to the handler.
func onWire(t *testing.T, q *queue, o Options, handler http.HandlerFunc) (*Dispatcher, *wire) {
	t.Helper()
	o.Egress = local
	d := New(q, o)
	w := &wire{handler: handler, timeout: d.o.Timeout, conns: make(chan net.Conn), requests: map[string]int{}, inFlight: map[string]int{}, most: map[string]int{}}
	d.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case w.conns <- theirs:
			return ours, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	server := &http.Server{Handler: w, ReadHeaderTimeout: time.Hour}
	go server.Serve(w) //nolint:errcheck // ends with the test
	t.Cleanup(func() {
		close(w.conns)
		server.Close()
	})
	return d, w
}

// start runs the dispatcher; stop ends it and answers how long the drain took.
func start(t *testing.T, d *Dispatcher) (stop func() time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	return func() time.Duration {
		began := time.Now()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		took := time.Since(began)
		synctest.Wait() // for the handlers to end too
		return took
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func hosted(r *http.Request, name string) bool { return strings.HasPrefix(r.Host, name) }
