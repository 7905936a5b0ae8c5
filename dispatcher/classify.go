package dispatcher

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tellhook/tellhook/store"
)

// maxRetryAfter bounds how long a receiver may put off the next attempt.
const maxRetryAfter = 24 * time.Hour

// outcome is what an exchange means.
type outcome struct {
	kind       store.ErrorKind // empty: success
	text       string          // for the owner: no secret, no path or query of the URL
	gone       bool            // 410: never again
	retryAfter time.Duration   // wait at least this long
}

// classify is the table of outcomes.
func (d *Dispatcher) classify(x *exchange) outcome {
	switch {
	case x.err != nil:
		kind, text := d.fault(x)
		return outcome{kind: kind, text: store.Clip(printable(text), 300)}
	case x.status/100 == 2:
		return outcome{}
	case x.status/100 == 3:
		return outcome{kind: store.ErrorRedirect, text: redirectText(x)}
	}
	o := outcome{kind: store.ErrorStatus, text: "the receiver answered " + statusText(x.status)}
	switch x.status {
	case http.StatusGone:
		o.gone = true
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		o.retryAfter = retryAfter(x.header, time.Now())
	}
	return o
}

// fault tells which part of the exchange failed.
func (d *Dispatcher) fault(x *exchange) (store.ErrorKind, string) {
	var (
		blocked *blockedError
		invalid *store.Error
		dns     *net.DNSError
		timeout net.Error
	)
	err := x.err
	if errors.As(err, &blocked) && x.connectErr != nil {
		err = x.connectErr // another address of the name was allowed, and failed
	}
	switch {
	case errors.As(err, &blocked):
		return store.ErrorBlocked, blocked.Error()
	case errors.As(err, &invalid), errors.Is(err, errNoSecret):
		return store.ErrorInternal, "nothing was sent: " + err.Error()
	case errors.As(err, &dns):
		return store.ErrorDNS, fmt.Sprintf("the name %s could not be resolved: %s", dns.Name, dns.Err)
	case x.inDNS:
		return store.ErrorDNS, "the name could not be resolved in time"
	case x.expired, errors.As(err, &timeout) && timeout.Timeout():
		return store.ErrorTimeout, fmt.Sprintf("no complete response within %s; it ended while %s", short(d.o.Timeout), x.phase)
	case x.inTLS:
		return store.ErrorTLS, "the TLS handshake failed: " + err.Error()
	case x.answered:
		return store.ErrorBody, "the response broke off or was malformed: " + cause(err)
	case x.remoteIP != "":
		return store.ErrorConnect, "the connection broke before a response came: " + cause(err)
	default:
		return store.ErrorConnect, "no connection: " + cause(err)
	}
}

// cause is the innermost part of a network error, such as "connection refused".
func cause(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err.Error()
	}
	text := op.Err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:] // "connect: connection refused"
	}
	if op.Op == "dial" && op.Addr != nil {
		return op.Addr.String() + ": " + text
	}
	return text
}

func redirectText(x *exchange) string {
	text := "the receiver answered " + statusText(x.status)
	if to, err := url.Parse(x.header.Get("Location")); err == nil && to.Host != "" {
		text += " to the host " + store.Clip(printable(to.Hostname()), 100)
	}
	return text + "; redirects are not followed: set the webhook's url to the final address"
}

func statusText(code int) string {
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}

// retryAfter reads Retry-After (RFC 9110 section 10.2.3), seconds or a date, as
// a wait of at most maxRetryAfter; zero where it is missing, malformed or past.
// A date is held against the receiver's own clock where it sent that.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) { // an error can only be the range
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
		now = theirs
	}
	return min(max(0, at.Sub(now)), maxRetryAfter)
}
