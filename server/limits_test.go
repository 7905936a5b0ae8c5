package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
)

func TestSessionsIdleOutUnlessAStreamIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions()
		var forgotten []string
		s.forget = func(id string) { forgotten = append(forgotten, id) }
		idle, streaming := s.open("a"), s.open("a")
		held, err := s.use(streaming, "a")
		if err != nil || !s.enter(held) {
			t.Fatal(err)
		}
		time.Sleep(sessionIdle / 2)
		if _, err := s.use(idle, "a"); err != nil {
			t.Errorf("used within the limit: %v", err)
		}
		time.Sleep(sessionIdle + time.Second)
		if _, err := s.use(idle, "a"); store.CodeOf(err) != store.CodeNotFound {
			t.Errorf("idle: %v", err)
		}
		if _, err := s.use(streaming, "a"); err != nil {
			t.Errorf("with an open stream: %v", err)
		}
		s.leave(held)
		time.Sleep(sessionIdle + time.Second)
		s.open("b") // sweeps
		if held.ctx.Err() == nil || len(s.byID) != 1 || len(forgotten) != 2 {
			t.Errorf("after the sweep: %d sessions, forgotten %v", len(s.byID), forgotten)
		}
	})
}

func TestSessionsGiveWayAtTheLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions()
		s.perKey, s.total = 3, 5
		first := s.open("a")
		time.Sleep(time.Second)
		streaming := s.open("a")
		held, _ := s.use(streaming, "a")
		s.enter(held)
		for range 4 {
			time.Sleep(time.Second)
			s.open("a")
		}
		if len(s.byID) != 3 {
			t.Errorf("%d sessions of one key, want 3", len(s.byID))
		}
		if _, err := s.use(first, "a"); err == nil {
			t.Error("the oldest is still there")
		}
		if _, err := s.use(streaming, "a"); err != nil {
			t.Error("the one with a stream gave way before those without")
		}
		for i := range 10 {
			time.Sleep(time.Second)
			s.open(fmt.Sprint(i))
		}
		if len(s.byID) != 5 {
			t.Errorf("%d sessions in all, want 5", len(s.byID))
		}
		for range streamsPerSession - 1 {
			s.enter(held)
		}
		if s.enter(held) {
			t.Error("more streams than the limit")
		}
	})
}

func TestThrottleRecoversAndStaysBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := newThrottle()
		addr := netip.MustParseAddr("192.0.2.1")
		for i := range failuresBurst {
			for range 3 { // the same secret again is no new guess
				if _, ok := limit.admit(addr, strconv.Itoa(i)); !ok {
					t.Fatal("refused within the burst")
				}
				limit.failed(addr, strconv.Itoa(i))
			}
		}
		if _, ok := limit.admit(addr, "0"); !ok {
			t.Error("a secret that has failed before is refused without being told so")
		}
		if wait, ok := limit.admit(addr, "x"); ok || wait <= 0 {
			t.Error("admitted after the burst")
		}
		if _, ok := limit.admit(netip.MustParseAddr("::ffff:192.0.2.1"), "x"); ok {
			t.Error("the mapped form of the address is admitted")
		}
		if _, ok := limit.admit(netip.MustParseAddr("192.0.2.2"), "x"); !ok {
			t.Error("another address is refused")
		}
		time.Sleep(failuresEvery)
		if _, ok := limit.admit(addr, "x"); !ok {
			t.Error("still refused after the wait")
		}
		for i := range 3 * maxAddresses {
			limit.failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), "x")
			limit.succeeded(fmt.Sprint(i))
		}
		if len(limit.addresses) > maxAddresses || len(limit.known) > maxKnownSecrets {
			t.Errorf("grown to %d addresses, %d secrets", len(limit.addresses), len(limit.known))
		}
		limit.failed(netip.MustParseAddr("2001:db8::1"), "x")
		if limit.addresses[netip.MustParseAddr("2001:db8::")] == nil {
			t.Error("IPv6 is not counted by /64")
		}
	})
}

func TestClientAddress(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32")}
	for _, tt := range []struct {
		peer, forwarded, want string
	}{
		{"192.0.2.1:5", "", "192.0.2.1"},
		{"192.0.2.1:5", "198.51.100.1", "192.0.2.1"}, // no proxy of ours: a made-up header
		{"10.1.1.1:5", "198.51.100.1", "198.51.100.1"},
		{"10.1.1.1:5", "203.0.113.9, 198.51.100.1, 10.2.2.2", "198.51.100.1"},
		{"10.1.1.1:5", "garbage", "10.1.1.1"},
		{"10.1.1.1:5", "", "10.1.1.1"},
		{"[::ffff:10.1.1.1]:5", "2001:db8::1", "2001:db8::1"},
		{"pipe", "198.51.100.1", "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{}}
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		if got := clientAddr(r, proxies).String(); got != tt.want {
			t.Errorf("%s forwarded for %q: %s, want %s", tt.peer, tt.forwarded, got, tt.want)
		}
	}
}

func TestSessionErrorIsTheSameForStrangersAndThieves(t *testing.T) {
	s := newSessions()
	id := s.open("a")
	_, foreign := s.use(id, "b")
	_, unknown := s.use("mcp-x", "b")
	if !errors.Is(foreign, unknown) {
		t.Errorf("%v and %v differ", foreign, unknown)
	}
}

// timedWriter notes the write deadline that a connection has.
type timedWriter struct {
	*httptest.ResponseRecorder
	until time.Time
}

// SetWriteDeadline implements what http.ResponseController asks for.
func (w *timedWriter) SetWriteDeadline(t time.Time) error {
	w.until = t
	return nil
}

// A deadline stays on a connection that is used again, and there it would cut
// a stream that has long been silent.
func TestEachWriteHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &timedWriter{ResponseRecorder: httptest.NewRecorder(), until: time.Now().Add(-time.Hour)}
		s := &Server{log: zerolog.Nop()}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		s.observed(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			if !w.until.IsZero() {
				t.Errorf("the deadline of the request before is still there: %s", w.until)
			}
			for range 3 {
				time.Sleep(time.Hour)
				_, _ = rw.Write([]byte("x"))
				if want := time.Now().Add(writeStall); !w.until.Equal(want) {
					t.Errorf("deadline %s, want %s", w.until, want)
				}
			}
		})).ServeHTTP(w, r)
	})
}
