package dispatcher

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tellhook/tellhook/store"
)

// A request whose own connection is still being made may get one that has come
// free meanwhile. The other then belongs to nobody: it ends within the timeout,
// and says nothing of the request, whether it hangs or fails.
func TestAbandonedDial(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]bool{"hangs": false, "fails": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testAbandonedDial(t, fails)
		})
	}
}

func testAbandonedDial(t *testing.T, fails bool) {
	plain := httptest.NewTLSServer(nil)
	plain.Close()
	roots := x509.NewCertPool()
	roots.AddCert(plain.Certificate())

	var conns atomic.Int32
	asked, dialled, answer, closed := make(chan bool), make(chan bool), make(chan bool), make(chan bool)
	taken := make(chan bool)                          // the freed connection, by the second request
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed below
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	url := "https://" + listener.Addr().String()
	serve := func(c net.Conn) {
		defer c.Close()
		if conns.Add(1) > 1 { // no handshake
			close(dialled)
			if fails {
				<-taken
				write(c, "this is no TLS record\r\n")
			}
			_, _ = io.Copy(io.Discard, c)
			close(closed)
			return
		}
		server := tls.Server(c, &tls.Config{Certificates: plain.TLS.Certificates})
		in := bufio.NewReader(server)
		readRequest(t, in)
		close(asked)
		<-answer
		write(server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		readRequest(t, in)
		close(taken)
		if fails {
			<-closed
			time.Sleep(50 * time.Millisecond) // the client hears of it
		}
		// and closes without an answer
	}
	go func() {
		for c, err := listener.Accept(); err == nil; c, err = listener.Accept() {
			go serve(c)
		}
	}()

	d := sender(t, roots)
	d.o.Timeout = 5 * testTimeout
	d.transport = newTransport(local, testTimeout, 8, roots, nil)
	first, second := make(chan store.Result, 1), make(chan store.Result, 1)
	go func() { r, _ := d.deliver(t.Context(), claimFor(url)); first <- r }()
	<-asked
	go func() { r, _ := d.deliver(t.Context(), claimFor(url)); second <- r }()
	<-dialled
	time.Sleep(50 * time.Millisecond) // the client begins its handshake
	close(answer)

	if a := (<-first).Attempt; a.ErrorKind != "" || a.Phases.TLS == 0 {
		t.Errorf("first attempt: %q %q, phases %+v", a.ErrorKind, a.Error, a.Phases)
	}
	if a := (<-second).Attempt; a.ErrorKind != store.ErrorConnect || a.Phases != (store.Phases{}) {
		t.Errorf("second attempt, on the first's connection: %q %q, phases %+v; want a connect error, no phases", a.ErrorKind, a.Error, a.Phases)
	}
	select {
	case <-closed:
	case <-time.After(3 * testTimeout):
		t.Error("the connection without a handshake is open still")
	}
}

func readRequest(t *testing.T, in *bufio.Reader) {
	r, err := http.ReadRequest(in)
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
}
