package dispatcher

import (
	"sync"
	"time"

	"github.com/tellhook/tellhook/store"
)

// claim is a store.Claim in this process's hands.
type claim struct {
	store.Claim
	at time.Time // before the lease began, by the monotonic clock
}

// lanes counts the requests in flight, in all and for each webhook. It keeps up
// to 2 × each claims waiting behind a webhook that is at its limit, and asks for
// more below half of that, so that a fast webhook does not wait for the database
// between two requests.
type lanes struct {
	mu       sync.Mutex
	total    int // limit of requests in flight
	each     int // limit for one webhook
	inFlight int
	byID     map[string]*lane
	freed    chan struct{} // has a value after there came to be room for more claims
}

type lane struct {
	inFlight int
	waiting  []claim
}

func newLanes(total, each int) *lanes {
	return &lanes{total: total, each: min(each, total), byID: map[string]*lane{}, freed: make(chan struct{}, 1)}
}

// room answers how many requests may be begun, and the webhooks that can take
// no more.
func (l *lanes) room() (free int, full []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, lane := range l.byID {
		if lane.inFlight >= l.each && len(lane.waiting) >= l.each {
			full = append(full, id)
		}
	}
	return l.total - l.inFlight, full
}

// admit sorts claims into those to begin now and those to give back; the others
// wait in their lane.
func (l *lanes) admit(claims []claim) (begin, surplus []claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range claims {
		w := l.byID[c.Delivery.WebhookID]
		if w == nil {
			w = new(lane)
			l.byID[c.Delivery.WebhookID] = w
		}
		switch {
		case w.inFlight < l.each && l.inFlight < l.total:
			w.inFlight++
			l.inFlight++
			begin = append(begin, c)
		case w.inFlight > 0 && len(w.waiting) < 2*l.each:
			w.waiting = append(w.waiting, c)
		default:
			surplus = append(surplus, c)
			if w.inFlight == 0 {
				delete(l.byID, c.Delivery.WebhookID)
			}
		}
	}
	return begin, surplus
}

// finish ends a request of a webhook. Where one waits in its lane, that takes
// the slot over; else the slot is free.
func (l *lanes) finish(webhookID string) (next claim, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.byID[webhookID]
	if len(w.waiting) > 0 {
		next, ok = w.waiting[0], true
		w.waiting = w.waiting[1:]
	} else {
		l.inFlight--
		if w.inFlight--; w.inFlight == 0 {
			delete(l.byID, webhookID)
		}
	}
	if len(w.waiting) < l.each {
		select {
		case l.freed <- struct{}{}:
		default:
		}
	}
	return next, ok
}

// busy tells whether any request is in flight.
func (l *lanes) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight > 0
}

// takeWaiting takes back the claims that are as old as the given time or older.
func (l *lanes) takeWaiting(until time.Time) (taken []claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.byID {
		n := 0 // they stand in the order of their times
		for n < len(w.waiting) && !w.waiting[n].at.After(until) {
			n++
		}
		taken = append(taken, w.waiting[:n]...)
		w.waiting = w.waiting[n:]
	}
	return taken
}
