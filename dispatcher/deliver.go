package dispatcher

import (
	"context"
	"fmt"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
)

// deliver makes one attempt and answers what to record. recorded is false where
// the drain's end cut the attempt off: its lease lapses, and whoever reclaims
// it writes it as unknown, which it is. A panic becomes an internal failure of
// this delivery alone.
func (d *Dispatcher) deliver(ctx context.Context, c *store.Claim) (r store.Result, recorded bool) {
	began := time.Now()
	r.Attempt = store.Attempt{
		ID: store.NewID(store.PrefixAttempt), DeliveryID: c.Delivery.ID, Number: c.Delivery.Attempts, StartedAt: began.UTC(),
	}
	var o outcome
	defer func() {
		if p := recover(); p != nil {
			d.o.Log.Error().Str("delivery", c.Delivery.ID).Str("webhook", c.Delivery.WebhookID).
				Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).Msg("attempt panicked")
			o = outcome{kind: store.ErrorInternal, text: "a fault inside the dispatcher; its log has the details"}
			recorded = true
		}
		if recorded {
			r.Attempt.Duration = time.Since(began)
			d.decide(&r, c, o)
			d.logAttempt(&r, c)
		}
	}()
	x := d.send(ctx, c)
	if x.cut {
		d.o.Log.Warn().Str("delivery", c.Delivery.ID).Str("webhook", c.Delivery.WebhookID).
			Int("attempt", c.Delivery.Attempts).Msg("attempt cut off by the shutdown; it will be sent again once its lease has lapsed")
		return r, false
	}
	o = d.classify(&x)
	a := &r.Attempt
	a.Phases, a.RemoteIP = x.phases, x.remoteIP
	a.ResponseHeaders, a.ResponseBody, a.ResponseTruncated = x.captured, x.body, x.truncated
	if x.status != 0 {
		a.StatusCode = &x.status
	}
	return r, true
}

// decide moves the delivery on: to its end, or to the schedule's next wait,
// stretched to what the receiver asked for.
func (d *Dispatcher) decide(r *store.Result, c *store.Claim, o outcome) {
	r.Attempt.ErrorKind, r.Attempt.Error = o.kind, o.text
	wait, more := d.o.Schedule.Next(c.Delivery.Step, d.o.Jitter)
	switch {
	case o.kind == "":
		r.Status = store.DeliverySucceeded
	case o.gone:
		r.Status, r.Reason, r.Gone = store.DeliveryFailed, store.ReasonGone, true
	case !more:
		r.Status, r.Reason = store.DeliveryFailed, store.ReasonExhausted
	default:
		r.Status = store.DeliveryPending
		r.RetryIn = max(wait, min(stretch(o.retryAfter, d.o.Jitter), maxRetryAfter))
	}
}

// logAttempt writes the one wide line of an attempt. Of the URL it tells the
// host alone: paths and queries carry tokens.
func (d *Dispatcher) logAttempt(r *store.Result, c *store.Claim) {
	a := &r.Attempt
	level := zerolog.InfoLevel
	if a.ErrorKind == store.ErrorInternal {
		level = zerolog.ErrorLevel
	}
	line := d.o.Log.WithLevel(level).
		Str("delivery", c.Delivery.ID).Str("webhook", c.Delivery.WebhookID).Str("team", c.Delivery.TeamID).
		Str("event", c.Delivery.EventID).Str("type", c.Delivery.EventType).
		Str("host", hostOf(c.Webhook)).Int("attempt", a.Number).
		Dur("duration_ms", a.Duration).Str("next", string(r.Status))
	if a.StatusCode != nil {
		line = line.Int("status_code", *a.StatusCode)
	}
	if a.ErrorKind != "" {
		line = line.Str("error_kind", string(a.ErrorKind)).Str("error", a.Error)
	}
	if r.Status == store.DeliveryPending {
		line = line.Dur("retry_in_ms", r.RetryIn)
	}
	if r.Reason != "" {
		line = line.Str("reason", r.Reason)
	}
	line.Msg("attempt")
}

func hostOf(w *store.Webhook) string {
	if w == nil {
		return ""
	}
	u, err := url.Parse(w.URL)
	if err != nil {
		return ""
	}
	return u.Host
}
