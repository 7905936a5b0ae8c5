package dispatcher

import (
	"context"
	"sync"
	"time"

	"github.com/tellhook/tellhook/store"
)

const (
	// leaseMargin is what a lease has beyond the timeout: time to wait in a lane
	// (maxHold) and to record through a short absence of the database. A dead
	// dispatcher's deliveries are sent again once it is over.
	leaseMargin = 20 * time.Second
	maxHold     = 5 * time.Second // from claim to sending; older claims are given back

	// A drain ends within drainLimit, so that the process exits within 15 s of
	// SIGTERM. Requests that are still in flight after sendLimit are cut off.
	sendLimit  = 12 * time.Second
	drainLimit = 14 * time.Second

	minLimit   = 16                   // rows asked for where most would be given back
	slotLinger = 5 * time.Millisecond // while nearly all slots are taken, for more than one to come free

	reapEvery  = time.Second
	pruneEvery = 5 * time.Minute
)

func (d *Dispatcher) lease() time.Duration { return d.o.Timeout + leaseMargin }

// Run sends deliveries until ctx ends, and then drains: it claims no more,
// gives back what is unsent, waits for the requests in flight and records them.
// It outlives the database's absences. Call it once.
func (d *Dispatcher) Run(ctx context.Context) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	sends, stopSends := context.WithCancel(work)
	defer stopSends()
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(sendLimit, stopSends)
		time.AfterFunc(drainLimit, stopWork)
	})
	defer stop()

	outcomes := make(chan done, d.o.Concurrency)
	var keepers, recorder sync.WaitGroup
	keepers.Go(func() { d.every(ctx, reapEvery, "reclaiming lapsed leases", d.reap) })
	if d.o.Retention > 0 {
		keepers.Go(func() { d.every(ctx, pruneEvery, "pruning", d.prune) })
	}
	recorder.Go(func() { d.record(work, outcomes) })

	f := &feed{Dispatcher: d, work: work, sends: sends, outcomes: outcomes, limit: d.o.Concurrency}
	f.run(ctx)
	f.giveBack(d.lanes.takeWaiting(time.Now()))
	f.senders.Wait()
	close(outcomes)
	recorder.Wait()
	keepers.Wait()
	d.transport.CloseIdleConnections()
	return nil
}

// feed claims and hands out work.
type feed struct {
	*Dispatcher
	work, sends context.Context // of calls to the store, of requests: both outlive Run's by the drain
	outcomes    chan<- done
	senders     sync.WaitGroup
	limit       int // rows to ask for at most; follows how many find room
}

// run claims until ctx ends.
func (f *feed) run(ctx context.Context) {
	wake := f.store.Wakeups(ctx)
	backoff := firstRetry
	for ctx.Err() == nil {
		f.giveBack(f.lanes.takeWaiting(time.Now().Add(-maxHold)))
		more, again, err := f.fill(ctx)
		switch {
		case err != nil:
			f.o.Log.Warn().Err(err).Dur("retry_in_ms", backoff).Msg("no claims: the database does not answer as it should")
			sleep(ctx, backoff)
			backoff = min(2*backoff, lastRetry)
			continue
		case again:
		default:
			wake = f.pause(ctx, wake, more)
		}
		backoff = firstRetry
	}
}

// fill claims once for the free slots. more tells that work was left for want of
// room, again that there is room for it.
func (f *feed) fill(ctx context.Context) (more, again bool, err error) {
	free, full := f.lanes.room()
	if free == 0 {
		return true, false, nil
	}
	ask := min(f.limit, free, maxBatch)
	claims, err := f.claim(ask, full)
	if err != nil {
		return false, false, err
	}
	begin, surplus := []claim(nil), claims
	if ctx.Err() == nil { // else the claim outlived ctx, so that its answer was not lost
		begin, surplus = f.lanes.admit(claims)
	}
	for _, c := range begin {
		f.senders.Go(func() { f.serve(c) })
	}
	f.giveBack(surplus)
	switch {
	case len(surplus) > 0:
		f.limit = max(minLimit, ask-len(surplus))
	case len(claims) == ask:
		f.limit = min(f.limit+f.limit/4+1, f.o.Concurrency)
	}
	return len(full) > 0 || len(claims) == ask, len(claims) == ask && len(begin) < free, nil
}

func (f *feed) claim(limit int, full []string) ([]claim, error) {
	ctx, cancel := context.WithTimeout(f.work, storeTimeout)
	defer cancel()
	at := time.Now()
	got, err := f.store.ClaimDeliveries(ctx, limit, f.lease(), full)
	claims := make([]claim, len(got))
	for i := range got {
		claims[i] = claim{got[i], at}
	}
	return claims, err
}

// pause waits for a reason to claim again: a wake-up, the poll, or, where work
// was left for want of room, room. It answers wake, nil once that is closed.
func (f *feed) pause(ctx context.Context, wake <-chan struct{}, more bool) <-chan struct{} {
	var freed <-chan struct{}
	if more {
		freed = f.lanes.freed
	}
	select {
	case <-ctx.Done():
	case <-time.After(f.o.Poll):
	case _, open := <-wake:
		if !open {
			return nil
		}
	case <-freed:
		if free, _ := f.lanes.room(); free < f.o.Concurrency/8 {
			sleep(ctx, slotLinger)
		}
	}
	return wake
}

// serve makes the attempt of a claim, and then those that wait behind it.
func (f *feed) serve(c claim) {
	for ok := true; ok; c, ok = f.lanes.finish(c.Delivery.WebhookID) {
		if time.Since(c.at) > maxHold { // the process was stopped meanwhile: too much of the lease is gone
			f.giveBack([]claim{c})
			continue
		}
		if result, recorded := f.deliver(f.sends, &c.Claim); recorded {
			f.outcomes <- done{c, result}
		}
	}
}

// giveBack releases claims of which nothing was sent. Where that fails their
// leases lapse.
func (f *feed) giveBack(claims []claim) {
	if len(claims) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(f.work, storeTimeout)
	defer cancel()
	released := make([]store.Claim, len(claims))
	for i := range claims {
		released[i] = claims[i].Claim
	}
	if err := f.store.ReleaseDeliveries(ctx, released); err != nil {
		f.o.Log.Warn().Err(err).Int("deliveries", len(claims)).Msg("claims not given back; they will be sent once their leases have lapsed")
	}
}
