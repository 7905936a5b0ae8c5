package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// hit is one request as it arrived.
type hit struct {
	at     time.Time
	header http.Header
	body   []byte
	event  envelope
}

// envelope is a delivery's body.
type envelope struct {
	Event     string          `json:"event"`
	EventID   string          `json:"event_id"`
	Timestamp string          `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

// receiver is a webhook's other end: it logs every hit before it answers.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	hits []hit
}

// newReceiver starts a receiver. answer gets the number of the hit from 1; nil
// answers 200 at once.
func newReceiver(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n int)) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(r.handler(answer))
	t.Cleanup(func() {
		r.CloseClientConnections()
		r.Close()
	})
	return r
}

func (r *receiver) handler(answer func(w http.ResponseWriter, r *http.Request, n int)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		at := time.Now()
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // the sender was killed while writing
		}
		h := hit{at: at, header: req.Header.Clone(), body: body}
		_ = json.Unmarshal(body, &h.event) // a body that is no envelope fails the test that looks at it
		r.mu.Lock()
		r.hits = append(r.hits, h)
		n := len(r.hits)
		r.mu.Unlock()
		req.Body = io.NopCloser(bytes.NewReader(body))
		if answer != nil {
			answer(w, req, n)
		}
	})
}

func (r *receiver) all() []hit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.hits)
}

// wait waits for at least n hits.
func (r *receiver) wait(t *testing.T, n int, limit time.Duration) []hit {
	t.Helper()
	var hits []hit
	eventually(t, limit, func() error {
		if hits = r.all(); len(hits) < n {
			return fmt.Errorf("%d of %d hits at the receiver", len(hits), n)
		}
		return nil
	})
	return hits
}

// byEvent counts the hits of each event id.
func byEvent(hits []hit) map[string]int {
	counts := map[string]int{}
	for _, h := range hits {
		counts[h.event.EventID]++
	}
	return counts
}
