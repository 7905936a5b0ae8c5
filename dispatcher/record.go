package dispatcher

import (
	"context"
	"errors"
	"time"

	"github.com/tellhook/tellhook/store"
)

const (
	maxBatch     = 500                  // rows in one call of the store
	linger       = 2 * time.Millisecond // how long an outcome waits for company while others are under way
	storeTimeout = 5 * time.Second      // of one call of the store
	firstRetry   = 50 * time.Millisecond
	lastRetry    = 2 * time.Second // keeps us back at work within 5 s of the database's return
)

// done is an outcome on its way to the store.
type done struct {
	claim  claim
	result store.Result
}

// record writes outcomes until in is closed, in batches of whatever has queued.
func (d *Dispatcher) record(ctx context.Context, in <-chan done) {
	for first := range in {
		d.recordBatch(ctx, d.gather(first, in))
	}
}

func (d *Dispatcher) gather(first done, in <-chan done) []done {
	batch := []done{first}
	var lingered <-chan time.Time
	for len(batch) < maxBatch {
		select {
		case next, open := <-in:
			if !open {
				return batch
			}
			batch = append(batch, next)
			continue
		default:
		}
		if lingered == nil {
			if !d.lanes.busy() {
				return batch
			}
			lingered = time.After(linger)
		}
		select {
		case next, open := <-in:
			if !open {
				return batch
			}
			batch = append(batch, next)
		case <-lingered:
			return batch
		}
	}
	return batch
}

// recordBatch does not give up on an outcome before its lease has lapsed:
// until then nobody else can send the delivery. A row that the store cannot
// take is found by halving the batch, and costs its own outcome alone.
func (d *Dispatcher) recordBatch(ctx context.Context, batch []done) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		if batch = d.dropLapsed(batch); len(batch) == 0 {
			return
		}
		recorded, err := d.recordOnce(ctx, batch)
		switch {
		case err == nil:
			d.noteRecorded(batch, recorded)
			return
		case ctx.Err() != nil:
			d.noteLost(batch, err)
			return
		case !retryable(err) && len(batch) > 1:
			half := len(batch) / 2
			d.recordBatch(ctx, batch[:half])
			d.recordBatch(ctx, batch[half:])
			return
		case !retryable(err):
			d.noteLost(batch, err)
			return
		}
		d.o.Log.Warn().Err(err).Int("attempts", len(batch)).Dur("retry_in_ms", wait).Msg("outcomes not recorded yet")
		sleep(ctx, wait)
	}
}

func (d *Dispatcher) recordOnce(ctx context.Context, batch []done) ([]store.Recorded, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	results := make([]store.Result, len(batch))
	for i := range batch {
		results[i] = batch[i].result
	}
	return d.store.RecordAttempts(ctx, results)
}

func (d *Dispatcher) dropLapsed(batch []done) []done {
	var kept, lapsed []done
	for _, b := range batch {
		if time.Since(b.claim.at) < d.lease() {
			kept = append(kept, b)
		} else {
			lapsed = append(lapsed, b)
		}
	}
	d.noteLost(lapsed, errLapsed)
	return kept
}

var errLapsed = errors.New("the lease lapsed first")

// noteLost says of each outcome that it is lost: whoever reclaims the delivery
// writes the attempt as unknown and sends it again.
func (d *Dispatcher) noteLost(batch []done, err error) {
	for _, b := range batch {
		d.o.Log.Error().Err(err).Str("delivery", b.result.Attempt.DeliveryID).
			Int("attempt", b.result.Attempt.Number).Str("outcome", string(b.result.Status)).
			Msg("outcome not recorded; the delivery will be sent again")
	}
}

func (d *Dispatcher) noteRecorded(batch []done, recorded []store.Recorded) {
	for i, r := range recorded {
		if !r.Applied {
			d.o.Log.Warn().Str("delivery", batch[i].result.Attempt.DeliveryID).
				Int("attempt", batch[i].result.Attempt.Number).Msg("outcome came too late; the claim was no longer ours")
		}
		if w := r.Webhook; w != nil {
			d.o.Log.Warn().Str("webhook", w.ID).Str("team", w.TeamID).Str("host", hostOf(w)).
				Str("health", string(w.Health)).Int("consecutive_failures", w.ConsecutiveFailures).
				Str("status", string(w.Status)).Str("paused_reason", string(w.PausedReason)).Msg("webhook changed")
		}
	}
}

// retryable also covers a call that our own timeout cut.
func retryable(err error) bool {
	return store.CodeOf(err).Retryable() || errors.Is(err, context.DeadlineExceeded)
}

func sleep(ctx context.Context, wait time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
}
