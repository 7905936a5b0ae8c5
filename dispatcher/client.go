package dispatcher

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

const (
	// maxResponseHeader bounds what a receiver can make us read before a body.
	maxResponseHeader = 64 << 10
	// idleConn keeps below the five seconds after which Node's servers close an
	// idle connection: a request that meets a closing one fails, and a POST must
	// not be sent again behind the attempt log's back.
	idleConn = 4 * time.Second
)

// newTransport is the one way out to URLs that a team gave: guarded by e at each
// dial, without proxy or transparent decompression, TLS verified and at least
// 1.2. A round trip follows no redirect and keeps no cookie. idle is how many
// connections are kept for reuse; timeout bounds dials and handshakes that have
// outlived their exchange, which got a connection that came free. roots and
// resolver are for tests; nil means the system's.
//
// HTTP/1.1 only: one attempt is one exchange on one connection, which its
// timeout can cut without touching other deliveries, and HTTP/2's transparent
// retries stay out.
func newTransport(e Egress, timeout time.Duration, idle int, roots *x509.CertPool, resolver *net.Resolver) *http.Transport {
	dialer := &net.Dialer{ControlContext: e.control, Resolver: resolver, Timeout: timeout, KeepAlive: 15 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  nil, // the guard must see the receiver's address, whatever HTTPS_PROXY says
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    timeout,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxResponseHeader,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        idleConn,
	}
}
