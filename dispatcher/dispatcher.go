// Package dispatcher sends deliveries: it claims what is due, signs and sends
// it past an egress guard, classifies what came back, and records that. It also
// holds the rules that its callers need before anything is sent: which URLs,
// headers and secrets a webhook may have.
package dispatcher

import (
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
)

// Options configure a Dispatcher. Zero values mean the defaults named here.
type Options struct {
	Schedule           Schedule      // waits before retries; nil: DefaultSchedule; empty: no retries
	Jitter             float64       // each wait is stretched by up to this part of it; 0: not at all
	Timeout            time.Duration // of one whole exchange; 10 s
	Concurrency        int           // requests in flight; 256
	WebhookConcurrency int           // requests in flight per webhook; 32
	SignatureHeader    string        // of the plain signature; DefaultSignatureHeader
	UserAgent          string        // "Tellhook"
	Egress             Egress        // where deliveries may go
	Retention          time.Duration // older rows are pruned; 30 days; below zero: kept for ever
	Poll               time.Duration // pause between looks for due work that no wake-up told of; 200 ms
	Log                zerolog.Logger
}

// Dispatcher sends the deliveries of a store. Any number may work on one store.
type Dispatcher struct {
	store     store.Store
	o         Options
	transport *http.Transport
	lanes     *lanes
}

// New makes a Dispatcher; Run sets it to work.
func New(s store.Store, o Options) *Dispatcher {
	if o.Schedule == nil {
		o.Schedule = presets["seed"]
	}
	o.Timeout = orDefault(o.Timeout, 10*time.Second)
	o.Concurrency = orDefault(o.Concurrency, 256)
	o.WebhookConcurrency = orDefault(o.WebhookConcurrency, 32)
	o.SignatureHeader = orDefault(o.SignatureHeader, DefaultSignatureHeader)
	o.UserAgent = orDefault(o.UserAgent, "Tellhook")
	o.Retention = orDefault(o.Retention, 30*24*time.Hour)
	o.Poll = orDefault(o.Poll, 200*time.Millisecond)
	return &Dispatcher{
		store:     s,
		o:         o,
		transport: newTransport(o.Egress, o.Timeout, o.Concurrency, nil, nil),
		lanes:     newLanes(o.Concurrency, o.WebhookConcurrency),
	}
}

func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
