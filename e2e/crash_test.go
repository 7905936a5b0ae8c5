package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// publisher publishes scans until it is stopped and remembers what was
// acknowledged.
type publisher struct {
	stop  chan struct{}
	group sync.WaitGroup
	mu    sync.Mutex
	acked []string
}

func publishInBackground(c *rest, clients int) *publisher {
	p := &publisher{stop: make(chan struct{})}
	for n := range clients {
		p.group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-p.stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				a, err := c.try("POST", "/api/v1/events", object{"event": "scan", "data": object{"qr_code_id": n, "scan_id": i}})
				if err != nil || a.status != http.StatusAccepted {
					continue // the server is being killed; nothing was promised
				}
				p.mu.Lock()
				p.acked = append(p.acked, str(a.object(), "id"))
				p.mu.Unlock()
			}
		})
	}
	return p
}

func (p *publisher) end() []string {
	close(p.stop)
	p.group.Wait()
	return p.acked
}

// TestKill9 kills the process in mid-delivery and in mid-publish. Afterwards all
// that was acknowledged arrives, every request on the wire is in the log, and
// what arrived twice was in flight.
func TestKill9(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, "TELLHOOK_RETRY_SCHEDULE=1s,1s,1s,1s,1s", "TELLHOOK_TIMEOUT=1s", "TELLHOOK_WEBHOOK_CONCURRENCY=8")
		s := d.serve("--dev")
		r := newReceiver(t, func(http.ResponseWriter, *http.Request, int) { time.Sleep(100 * time.Millisecond) })
		d.rest(s).webhook(r.URL, "scan")
		p := publishInBackground(d.rest(s), 3)
		r.wait(t, 60, 30*time.Second)
		s.kill(t)
		killed := time.Now()
		acked := p.end()

		c := d.rest(d.serve("--dev"))
		// A lease lasts for the timeout and 20 s more.
		eventually(t, 60*time.Second, func() error {
			if rows := c.list("/api/v1/deliveries?status=pending"); len(rows) > 0 {
				return fmt.Errorf("%d deliveries are still pending, such as %v", len(rows), rows[0])
			}
			return nil
		})
		arrived := byEvent(r.all())
		for _, id := range acked {
			if arrived[id] == 0 {
				t.Errorf("acknowledged event %s never arrived", id)
			}
		}
		checkAttemptLog(t, c, r.all(), killed)
		t.Logf("%d events acknowledged, %d requests", len(acked), len(r.all()))
	})
}

// checkAttemptLog compares what the receiver saw with the log: every request is
// an attempt there, nothing failed, and what came twice was lost by the kill: it
// was in flight then, or its outcome was not committed yet.
func checkAttemptLog(t *testing.T, c *rest, hits []hit, killed time.Time) {
	t.Helper()
	arrived := byEvent(hits)
	first := map[string]time.Time{}
	for _, h := range hits {
		if _, seen := first[h.event.EventID]; !seen {
			first[h.event.EventID] = h.at
		}
	}
	duplicates, lost := 0, 0
	for _, row := range c.list("/api/v1/deliveries") {
		if row["status"] != "succeeded" {
			t.Errorf("delivery: %v", row)
		}
		n := arrived[str(row, "event_id")]
		if n > 1 {
			duplicates++
			if age := killed.Sub(first[str(row, "event_id")]); n > 2 || age > 2*time.Second {
				t.Errorf("event %s was sent %d times, the first one %v before the kill", str(row, "event_id"), n, age)
			}
		}
		logged, _ := row["attempts"].(float64)
		if logged == 1 && n == 1 {
			continue
		}
		attempts := attemptsOf(c.do("GET", "/api/v1/deliveries/"+str(row, "id"), nil).ok(http.StatusOK))
		if len(attempts) < n {
			t.Errorf("event %s arrived %d times, and the log has %d attempts", str(row, "event_id"), n, len(attempts))
		}
		for _, a := range attempts[:len(attempts)-1] {
			lost++
			if a["error_kind"] != "unknown" {
				t.Errorf("an attempt before the last one is %v, want unknown", a)
			}
		}
	}
	if lost == 0 || duplicates > lost {
		t.Errorf("%d attempts were lost and %d requests came twice; want some lost, and no more twice", lost, duplicates)
	}
}

// TestDrain wants SIGTERM to finish what is in flight and to leave the rest for
// the next process: nothing lost, nothing twice.
func TestDrain(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, "TELLHOOK_WEBHOOK_CONCURRENCY=4")
		s := d.serve("--dev")
		r := newReceiver(t, func(http.ResponseWriter, *http.Request, int) { time.Sleep(400 * time.Millisecond) })
		d.rest(s).webhook(r.URL, "scan")
		for i := range 20 {
			d.rest(s).scan(i)
		}
		r.wait(t, 2, 10*time.Second)
		s.terminate(t)
		before := len(r.all())

		c := d.rest(d.serve("--dev"))
		began := time.Now()
		r.wait(t, 20, 15*time.Second)
		eventually(t, 10*time.Second, func() error {
			if rows := c.list("/api/v1/deliveries?status=succeeded"); len(rows) != 20 {
				return fmt.Errorf("%d of 20 deliveries succeeded", len(rows))
			}
			return nil
		})
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the rest took %v: what was unsent was not released", took)
		}
		if before == 20 {
			t.Error("all was sent before the end of the first process: nothing was tested")
		}
		for _, h := range r.all() {
			if h.header.Get("X-Webhook-Attempt") != "1" {
				t.Errorf("event %s came as attempt %s", h.event.EventID, h.header.Get("X-Webhook-Attempt"))
			}
		}
		if n := len(r.all()); n != 20 {
			t.Errorf("%d requests for 20 events", n)
		}
	})
}

// TestTwoDispatchers shares one PostgreSQL between two workers: nothing is sent twice.
func TestTwoDispatchers(t *testing.T) {
	t.Parallel()
	d := deploy(t, postgres, append(loopback, "TELLHOOK_TIMEOUT=1s", "TELLHOOK_RETRY_SCHEDULE=1s,1s")...)
	s := d.serve("--no-dispatch")
	c := d.rest(s)
	r := newReceiver(t, func(http.ResponseWriter, *http.Request, int) { time.Sleep(5 * time.Millisecond) })
	c.webhook(r.URL, "scan")
	for i := range 5 {
		c.scan(i)
	}
	time.Sleep(700 * time.Millisecond)
	if n := len(r.all()); n != 0 {
		t.Errorf("serve --no-dispatch sent %d requests", n)
	}

	d.start("dispatch")
	d.start("dispatch")
	p := publishInBackground(c, 4)
	r.wait(t, 250, 60*time.Second)
	want := len(p.end()) + 5
	r.wait(t, want, 30*time.Second)
	time.Sleep(500 * time.Millisecond)
	for id, n := range byEvent(r.all()) {
		if n != 1 {
			t.Errorf("event %s was sent %d times", id, n)
		}
	}
	if n := len(r.all()); n != want {
		t.Errorf("%d requests for %d events", n, want)
	}
}

// TestTwoProcessesOneFile shares one SQLite file between a server and a stdio
// process, which leaves the deliveries to the server: by its own settings it
// could not make them.
func TestTwoProcessesOneFile(t *testing.T) {
	t.Parallel()
	d := deploy(t, sqlite)
	s := d.serve("--dev")
	c := d.rest(s)
	r := newReceiver(t, func(http.ResponseWriter, *http.Request, int) { time.Sleep(5 * time.Millisecond) })
	c.webhook(r.URL, "scan")
	a := transports[0].open(t, d, s, d.key)
	p := publishInBackground(c, 2)
	for i := range 40 {
		a.ok("publish_event", object{"event": "scan", "data": object{"qr_code_id": "stdio", "scan_id": i}})
	}
	want := len(p.end()) + 40
	r.wait(t, want, 30*time.Second)
	time.Sleep(500 * time.Millisecond)
	for id, n := range byEvent(r.all()) {
		if n != 1 {
			t.Errorf("event %s was sent %d times", id, n)
		}
	}
	if n := len(r.all()); n != want {
		t.Errorf("%d requests for %d events", n, want)
	}
	// Without the server, stdio sends by its own settings.
	s.terminate(t)
	id := a.ok("publish_event", object{"event": "scan", "data": object{"qr_code_id": "alone"}})["id"]
	eventually(t, 10*time.Second, func() error {
		for _, delivery := range a.ok("list_deliveries", object{"event_id": id})["data"].([]any) {
			if kind := delivery.(map[string]any)["last_error_kind"]; kind == "blocked" {
				return nil
			}
		}
		return errors.New("stdio did not take over")
	})
}
