package dispatcher

import (
	"crypto/tls"
	"errors"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"sync"
	"time"

	"github.com/tellhook/tellhook/store"
)

// maxInterim is how many 1xx responses may come before the final one. Go's
// client sets no limit of its own once a hook watches them.
const maxInterim = 10

var errInterimFlood = errors.New("the receiver sent too many 1xx responses")

// trace watches one exchange. The transport may call its hooks from several
// goroutines, and even after the exchange has ended: everything is behind mu.
type trace struct {
	mu         sync.Mutex
	phase      string // what is under way, in words
	dnsStart   time.Time
	dialStart  time.Time
	tlsStart   time.Time
	written    time.Time
	phases     store.Phases
	inDNS      bool
	inTLS      bool
	connected  bool // from here on, what is dialled still is another exchange's
	answered   bool // the response's first byte came
	connectErr error
	remote     netip.Addr
	interim    int
}

// report is what a trace saw.
type report struct {
	phase      string
	phases     store.Phases
	inDNS      bool  // the exchange ended while a name was being resolved
	inTLS      bool  // … or during the TLS handshake
	answered   bool  // the response's first byte came
	connectErr error // the last refusal of an address that the guard allowed
	remoteIP   string
}

func (t *trace) report() report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := report{
		phase: t.phase, phases: t.phases, inDNS: t.inDNS, inTLS: t.inTLS,
		answered: t.answered, connectErr: t.connectErr,
	}
	if t.remote.IsValid() {
		r.remoteIP = t.remote.String()
	}
	return r
}

func (t *trace) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) {
			t.dial("resolving the name", func() { t.dnsStart, t.inDNS = time.Now(), true })
		},
		DNSDone: func(info httptrace.DNSDoneInfo) {
			t.dial("connecting", func() { t.phases.DNS, t.inDNS = time.Since(t.dnsStart), info.Err != nil })
		},
		ConnectStart: func(_, _ string) {
			t.dial("connecting", func() {
				if t.dialStart.IsZero() { // of several addresses, the first
					t.dialStart = time.Now()
				}
			})
		},
		ConnectDone: func(_, _ string, err error) {
			t.dial("connecting", func() {
				t.phases.Connect = time.Since(t.dialStart)
				if blocked := (*blockedError)(nil); err != nil && !errors.As(err, &blocked) {
					t.connectErr = err
				}
			})
		},
		TLSHandshakeStart: func() {
			t.dial("in the TLS handshake", func() { t.tlsStart, t.inTLS = time.Now(), true })
		},
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			t.dial("in the TLS handshake", func() { t.phases.TLS, t.inTLS = time.Since(t.tlsStart), err != nil })
		},
		GotConn: func(info httptrace.GotConnInfo) {
			t.note("sending the request", func() {
				t.connected, t.inDNS, t.inTLS = true, false, false
				if info.Reused { // it came free while another was being made
					t.phases = store.Phases{}
				}
				if to, err := netip.ParseAddrPort(info.Conn.RemoteAddr().String()); err == nil {
					t.remote = to.Addr().Unmap()
				}
			})
		},
		WroteRequest: func(httptrace.WroteRequestInfo) {
			t.note("waiting for the response", func() { t.written = time.Now() })
		},
		GotFirstResponseByte: func() {
			t.note("reading the response", func() {
				t.answered = true
				if !t.written.IsZero() { // else the answer came before the request's end
					t.phases.FirstByte = time.Since(t.written)
				}
			})
		},
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.interim++; t.interim > maxInterim {
				return errInterimFlood
			}
			return nil
		},
	}
}

// dial is note for the hooks of a dial, which may outlive the wait for it.
func (t *trace) dial(phase string, change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.connected {
		t.phase = phase
		change()
	}
}

func (t *trace) note(phase string, change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phase = phase
	change()
}
