package dispatcher

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/seal"
	"github.com/tellhook/tellhook/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a team on a real embedded database.
type house struct {
	store.Store
	team string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	keys, err := seal.Parse(seal.GenerateKey())
	if err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "t.db"), Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	team, err := s.FindTeam(t.Context(), store.DefaultTeam)
	if err != nil {
		t.Fatal(err)
	}
	return &house{s, team.ID}
}

func (h *house) webhook(t *testing.T, url string) *store.Webhook {
	t.Helper()
	w, _, err := h.CreateWebhook(t.Context(), h.team, &store.Webhook{
		Kind: store.KindWebhook, URL: url, Events: []string{"*"}, Headers: map[string]string{"X-Api-Key": "canary-header"},
		Status: store.StatusActive, Health: store.HealthHealthy,
		Secrets: []store.Secret{{Value: testSecret, CreatedAt: time.Now()}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (h *house) publish(t *testing.T, n int) {
	t.Helper()
	batch := make([]store.Publish, n)
	for i := range batch {
		batch[i] = store.Publish{Type: "scan.created", Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))}
	}
	if _, err := h.PublishEvents(t.Context(), h.team, batch); err != nil {
		t.Fatal(err)
	}
}

// deliveries answers all deliveries that are in the state.
func (h *house) deliveries(t *testing.T, status store.DeliveryStatus) (all []store.Delivery) {
	t.Helper()
	q := store.DeliveryQuery{Page: store.Page{Limit: store.MaxPageLimit}, Status: status}
	for {
		list, err := h.ListDeliveries(t.Context(), h.team, q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, list.Data...)
		if q.Cursor = list.NextCursor; q.Cursor == "" {
			return all
		}
	}
}

func (h *house) wait(t *testing.T, status store.DeliveryStatus, n int) []store.Delivery {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		all := h.deliveries(t, status)
		if len(all) == n {
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d deliveries are %s, want %d", len(all), status, n)
		}
	}
}

func (h *house) attempts(t *testing.T, d store.Delivery) []store.Attempt {
	t.Helper()
	_, attempts, err := h.GetDelivery(t.Context(), h.team, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	return attempts
}

// run runs a dispatcher until stop, which also ends with the test.
func (h *house) run(t *testing.T, o Options) (stop func()) {
	t.Helper()
	o.Egress = local
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- New(h, o).Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// counter is a receiver that counts what came.
type counter struct {
	mu       sync.Mutex
	byID     map[string]int // requests by webhook-id
	inFlight int
	most     int
}

func (c *counter) serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	c.byID = map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.note(r.Header.Get("webhook-id"), 1)
		defer c.note("", -1)
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func (c *counter) note(id string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight += n
	c.most = max(c.most, c.inFlight)
	if id != "" {
		c.byID[id]++
	}
}

// count answers how many events came.
func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byID)
}

func TestRunDelivers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var c counter
	server := c.serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("thanks")) })
	w := h.webhook(t, server.URL+"/hooks?token=canary-query")
	var log bytes.Buffer
	stop := h.run(t, Options{Log: zerolog.New(zerolog.SyncWriter(&log))})
	h.publish(t, 40)
	done := h.wait(t, store.DeliverySucceeded, 40)
	stop()
	for _, d := range done {
		a := h.attempts(t, d)
		if len(a) != 1 || a[0].StatusCode == nil || *a[0].StatusCode != 200 || string(a[0].ResponseBody) != "thanks" ||
			a[0].RemoteIP != "127.0.0.1" || c.byID[d.EventID] != 1 || d.WebhookID != w.ID {
			t.Errorf("%+v: attempts %+v", d, a)
		}
	}
	text := log.String()
	if strings.Count(text, `"message":"attempt"`) != 40 {
		t.Errorf("log:\n%s", text)
	}
	for _, secret := range []string{"canary", testSecret, testSecret[6:]} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestRunRetries(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var c counter
	server := c.serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Webhook-Attempt") != "3" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	h.webhook(t, server.URL)
	h.run(t, Options{Schedule: Schedule{50 * time.Millisecond, 150 * time.Millisecond}, Poll: 10 * time.Millisecond})
	h.publish(t, 1)
	d := h.wait(t, store.DeliverySucceeded, 1)[0]
	a := h.attempts(t, d)
	if len(a) != 3 || a[0].ErrorKind != store.ErrorStatus || a[2].ErrorKind != "" {
		t.Fatalf("attempts %+v", a)
	}
	if wait := a[2].StartedAt.Sub(a[1].StartedAt); wait < 150*time.Millisecond {
		t.Errorf("the second retry came after %s", wait)
	}
}

func TestRunGivesUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var c counter
	server := c.serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	w := h.webhook(t, server.URL)
	h.run(t, Options{Schedule: Schedule{time.Millisecond, time.Millisecond}, Poll: 10 * time.Millisecond})
	h.publish(t, 1)
	d := h.wait(t, store.DeliveryFailed, 1)[0]
	if d.Reason != store.ReasonExhausted || d.Attempts != 3 || len(h.attempts(t, d)) != 3 {
		t.Errorf("%+v", d)
	}
	if w, err := h.GetWebhook(t.Context(), h.team, w.ID); err != nil || w.Health != store.HealthFailing || w.Status != store.StatusActive {
		t.Errorf("%+v, %v", w, err)
	}
}

func TestRunGone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var c counter
	server := c.serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	w := h.webhook(t, server.URL)
	h.run(t, Options{})
	h.publish(t, 1)
	if d := h.wait(t, store.DeliveryFailed, 1)[0]; d.Reason != store.ReasonGone || d.Attempts != 1 {
		t.Errorf("%+v", d)
	}
	if w, err := h.GetWebhook(t.Context(), h.team, w.ID); err != nil || w.Status != store.StatusPaused || w.PausedReason != store.PausedGone {
		t.Errorf("%+v, %v", w, err)
	}
}

// A sender that died leaves a lease; once that has lapsed its attempt is
// written as unknown, and the delivery is sent.
func TestRunRecoversFromCrash(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var c counter
	server := c.serve(t, func(http.ResponseWriter, *http.Request) {})
	h.webhook(t, server.URL)
	h.publish(t, 3)
	dead, err := h.ClaimDeliveries(t.Context(), 10, 50*time.Millisecond, nil)
	if err != nil || len(dead) != 3 {
		t.Fatalf("%d claims, %v", len(dead), err)
	}
	h.run(t, Options{})
	for _, d := range h.wait(t, store.DeliverySucceeded, 3) {
		if a := h.attempts(t, d); len(a) != 2 || a[0].ErrorKind != store.ErrorUnknown || a[1].ErrorKind != "" || d.Step != 1 {
			t.Errorf("%+v: attempts %+v", d, a)
		}
	}
}

// Dispatchers that come and go under load lose and double nothing, and pass no
// limit.
func TestRunDrainsUnderLoad(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var c counter
	server := c.serve(t, func(http.ResponseWriter, *http.Request) { time.Sleep(5 * time.Millisecond) })
	h.webhook(t, server.URL)
	h.publish(t, 200)
	o := Options{Concurrency: 20, WebhookConcurrency: 6}
	for range 5 {
		came := c.count()
		stop := h.run(t, o)
		for deadline := time.Now().Add(10 * time.Second); c.count() < came+10; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing is sent")
			}
		}
		stop() // in the middle of it
		for _, d := range h.deliveries(t, store.DeliveryPending) {
			if d.InFlight || d.Attempts != 0 {
				t.Fatalf("the drain abandoned %+v", d)
			}
		}
	}
	if n := len(h.deliveries(t, store.DeliveryPending)); n == 0 {
		t.Error("nothing was left at the last drain")
	}
	stop := h.run(t, o)
	h.wait(t, store.DeliverySucceeded, 200)
	stop()
	if len(c.byID) != 200 || c.most > 6 {
		t.Errorf("%d events came, %d at once", len(c.byID), c.most)
	}
	for id, n := range c.byID {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}
