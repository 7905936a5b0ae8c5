package sqlite

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"time"

	"github.com/tellhook/tellhook/store"
)

// publishing is one PublishEvents: its transaction and what it needs over and over.
type publishing struct {
	*Store
	tx       *sql.Tx
	teamID   string
	now      time.Time
	webhooks []store.Webhook // the team's: ids, event types and filters alone
	due      int             // deliveries made
}

// PublishEvents implements store.Store. Positions are given in commit-visible
// order because writes are serial.
func (s *Store) PublishEvents(ctx context.Context, teamID string, batch []store.Publish) ([]store.Published, error) {
	answers := make([]store.Published, len(batch))
	p := &publishing{Store: s, teamID: teamID}
	err := s.write(ctx, func(tx *sql.Tx) (err error) {
		if err := checkTeam(ctx, tx, teamID); err != nil {
			return err
		}
		p.tx, p.now = tx, now()
		p.webhooks, err = collect(ctx, tx, func(row scanner) (w store.Webhook, err error) {
			return w, row.Scan(&w.ID, asJSON{&w.Events}, asJSON{&w.Filter})
		}, `SELECT id, events, filter FROM webhooks WHERE team_id = ?`, teamID)
		if err != nil {
			return err
		}
		for i := range batch {
			if answers[i], err = p.publish(ctx, &batch[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if p.due > 0 {
		s.wake()
	}
	return answers, nil
}

// publish answers one item; an error of its own is in the answer.
func (p *publishing) publish(ctx context.Context, item *store.Publish) (store.Published, error) {
	known, err := p.known(ctx, item)
	switch {
	case err == nil && known != nil:
		return store.Published{Event: known, Duplicate: true}, nil
	case store.CodeOf(err) == store.CodeConflict:
		return store.Published{Err: err}, nil
	case err != nil:
		return store.Published{}, err
	}
	e := &store.Event{
		ID: item.ID, TeamID: p.teamID, Type: item.Type, Timestamp: item.Timestamp.UTC().Truncate(time.Millisecond),
		Data: slices.Clone(item.Data), IdempotencyKey: item.IdempotencyKey,
	}
	if e.ID == "" {
		e.ID = store.NewID(store.PrefixEvent)
	}
	if item.Timestamp.IsZero() {
		e.Timestamp = p.now.Truncate(time.Millisecond)
	}
	if err := p.append(ctx, e); err != nil {
		return store.Published{}, err
	}
	if item.IdempotencyKey != "" {
		if err := p.remember(ctx, item, e.ID); err != nil {
			return store.Published{}, err
		}
	}
	return store.Published{Event: e}, p.deriveFirstScan(ctx, e)
}

// known answers the event that item repeats, nil where it is new. CodeConflict:
// its key or id was used otherwise, or the event of its key is gone.
func (p *publishing) known(ctx context.Context, item *store.Publish) (*store.Event, error) {
	if item.IdempotencyKey != "" {
		id, err := rememberedID(ctx, p.tx, p.teamID, routePublishEvent, &store.Idempotency{Key: item.IdempotencyKey, Fingerprint: item.Fingerprint()})
		if err != nil {
			return nil, err
		}
		if id != "" {
			e, err := findEvent(ctx, p.tx, p.teamID, id)
			if store.CodeOf(err) == store.CodeNotFound {
				return nil, store.KeySpent(item.IdempotencyKey)
			}
			return e, err
		}
	}
	if item.ID == "" {
		return nil, nil
	}
	e, err := findEvent(ctx, p.tx, p.teamID, item.ID)
	if store.CodeOf(err) == store.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !item.SameContent(e) {
		return nil, store.EventDiffers(e)
	}
	if item.IdempotencyKey != "" {
		return e, p.remember(ctx, item, e.ID)
	}
	return e, nil
}

func (p *publishing) remember(ctx context.Context, item *store.Publish, eventID string) error {
	return remember(ctx, p.tx, p.teamID, routePublishEvent, &store.Idempotency{Key: item.IdempotencyKey, Fingerprint: item.Fingerprint()}, eventID)
}

// append writes the event, gives it its position, and owes it to the webhooks
// that take it.
func (p *publishing) append(ctx context.Context, e *store.Event) error {
	e.CreatedAt = p.now
	r, err := p.tx.ExecContext(ctx, `
		INSERT INTO events (id, team_id, type, occurred_at, data, idempotency_key, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		e.ID, e.TeamID, e.Type, e.Timestamp.UnixMicro(), []byte(e.Data), e.IdempotencyKey, e.CreatedAt.UnixMicro())
	if err != nil {
		return err
	}
	if e.Position, err = r.LastInsertId(); err != nil {
		return err
	}
	data := sync.OnceValue(func() map[string]any { return store.DecodeData(e.Data) })
	for i := range p.webhooks {
		w := &p.webhooks[i]
		if !w.Wants(e.Type, data) {
			continue
		}
		_, err := p.tx.ExecContext(ctx, `
			INSERT INTO deliveries (id, team_id, webhook_id, event_id, event_type, status, reason, attempts, step, lost,
				next_attempt_at, last_error_kind, created_at)
			VALUES (?, ?, ?, ?, ?, 'pending', '', 0, 0, 0, ?, '', ?)`,
			store.NewID(store.PrefixDelivery), e.TeamID, w.ID, e.ID, e.Type, e.CreatedAt.UnixMicro(), e.CreatedAt.UnixMicro())
		if err != nil {
			return err
		}
		p.due++
	}
	return nil
}

// deriveFirstScan remembers the first scan of a thing, also where none is to be
// derived (that may change), and publishes a first_scan with a scan that is one.
func (p *publishing) deriveFirstScan(ctx context.Context, e *store.Event) error {
	key, ok := store.FirstScanKey(e.Type, e.Data)
	if !ok {
		return nil
	}
	r, err := p.tx.ExecContext(ctx, `INSERT INTO first_scans (team_id, qr_key) VALUES (?, ?) ON CONFLICT DO NOTHING`, p.teamID, key)
	if err != nil {
		return err
	}
	if first, err := r.RowsAffected(); err != nil || first == 0 || e.Type == store.TypeFirstScan || !p.Store.deriveFirstScan {
		return err
	}
	return p.append(ctx, &store.Event{
		ID: store.NewID(store.PrefixEvent), TeamID: p.teamID, Type: store.TypeFirstScan, Timestamp: e.Timestamp, Data: e.Data,
	})
}

// Wakeups implements store.Store: publishes of this process alone; those of
// another process are found by polling.
func (s *Store) Wakeups(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners[c] = struct{}{}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, c)
		close(c)
	})
	return c
}

func (s *Store) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.listeners {
		select {
		case c <- struct{}{}:
		default: // one is waiting there already
		}
	}
}
