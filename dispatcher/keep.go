package dispatcher

import (
	"context"
	"time"
)

// every does a task at once and then at each interval until ctx ends; after an
// error the pauses grow to lastRetry, or stay the interval where that is longer.
func (d *Dispatcher) every(ctx context.Context, interval time.Duration, task string, do func(context.Context) error) {
	for wait := interval; ctx.Err() == nil; sleep(ctx, wait) {
		err := do(ctx)
		switch {
		case err == nil:
			wait = interval
		case ctx.Err() == nil:
			wait = max(interval, min(2*wait, lastRetry))
			d.o.Log.Warn().Err(err).Dur("retry_in_ms", wait).Msg(task + " failed")
		}
	}
}

// reap takes the deliveries whose sender died.
func (d *Dispatcher) reap(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*storeTimeout)
	defer cancel()
	for {
		n, err := d.store.ReclaimLapsed(ctx, maxBatch)
		if err != nil {
			return err
		}
		if n > 0 {
			d.o.Log.Warn().Int("deliveries", n).Msg("senders died; their attempts are written as unknown and will be made again")
		}
		if n < maxBatch {
			return nil
		}
	}
}

func (d *Dispatcher) prune(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pruneEvery)
	defer cancel()
	p, err := d.store.Prune(ctx, time.Now().Add(-d.o.Retention))
	if err != nil {
		return err
	}
	if p.Events+p.Deliveries+p.Attempts+p.Keys+p.Expired > 0 {
		d.o.Log.Info().Int("events", p.Events).Int("deliveries", p.Deliveries).Int("attempts", p.Attempts).
			Int("idempotency_keys", p.Keys).Int("expired", p.Expired).Msg("pruned")
	}
	return nil
}
