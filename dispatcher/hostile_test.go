package dispatcher

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tellhook/tellhook/store"
)

// Each hostile or broken receiver ends its attempt in time, with its kind.
func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, c := range map[string]struct {
		kind  store.ErrorKind
		says  string
		serve func(net.Conn)
	}{
		"silence":       {store.ErrorTimeout, "waiting for the response", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }},
		"close at once": {store.ErrorConnect, "broke before a response", func(net.Conn) {}},
		"reset":         {store.ErrorConnect, "connection reset", reset},
		"reset in the body": {store.ErrorBody, "connection reset", func(c net.Conn) {
			write(c, ok+"Content-Length: 9\r\n\r\nabc")
			time.Sleep(50 * time.Millisecond)
			reset(c)
		}},
		"not HTTP":        {store.ErrorBody, "malformed", func(c net.Conn) { write(c, "SSH-2.0-OpenSSH_9.2\r\n") }},
		"short body":      {store.ErrorBody, "unexpected EOF", func(c net.Conn) { write(c, ok+"Content-Length: 100\r\n\r\nabc") }},
		"bad chunk":       {store.ErrorBody, "malformed", func(c net.Conn) { write(c, ok+"Transfer-Encoding: chunked\r\n\r\nzz\r\n") }},
		"drip of headers": {store.ErrorTimeout, "", func(c net.Conn) { write(c, ok); drip(c, "X: y\r\n") }},
		"drip of body":    {store.ErrorTimeout, "reading the response", func(c net.Conn) { write(c, ok+"\r\n"); drip(c, "x") }},
		"header flood":    {store.ErrorBody, "malformed", func(c net.Conn) { write(c, ok+"X: "); flood(c, "y") }},
		"many headers":    {store.ErrorBody, "malformed", func(c net.Conn) { write(c, ok); flood(c, "X-Y: z\r\n") }},
		"1xx flood":       {store.ErrorBody, "too many 1xx", func(c net.Conn) { flood(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n") }},
		"endless body":    {"", "", func(c net.Conn) { write(c, ok+"\r\n"); flood(c, "body") }},
		"switching": {store.ErrorStatus, "101", func(c net.Conn) {
			write(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
			time.Sleep(testTimeout / 4)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := deliverTo(t, sender(t, nil), claimFor("http://"+receiver(t, c.serve)))
			a := r.Attempt
			if a.ErrorKind != c.kind || !strings.Contains(a.Error, c.says) {
				t.Errorf("kind %q, %q; want %q, %q", a.ErrorKind, a.Error, c.kind, c.says)
			}
			if len(a.ResponseBody) > maxCapturedBody || len(a.Error) > 310 {
				t.Errorf("%d bytes of body, %d of error", len(a.ResponseBody), len(a.Error))
			}
			if name == "endless body" && (len(a.ResponseBody) != maxCapturedBody || !a.ResponseTruncated) {
				t.Errorf("%d bytes kept, truncated %v", len(a.ResponseBody), a.ResponseTruncated)
			}
		})
	}
}

// receiver serves raw connections, each after it has read a request.
func receiver(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed below
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					serve(conn)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func write(c net.Conn, text string) { _, _ = io.WriteString(c, text) }

func drip(c net.Conn, text string) {
	for _, err := io.WriteString(c, text); err == nil; _, err = io.WriteString(c, text) {
		time.Sleep(50 * time.Millisecond)
	}
}

func flood(c net.Conn, text string) {
	block := []byte(strings.Repeat(text, 1000))
	for {
		if _, err := c.Write(block); err != nil {
			return
		}
	}
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
