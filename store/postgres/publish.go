package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tellhook/tellhook/store"
)

// PublishEvents appends a batch to the team's event log.
func (s *Store) PublishEvents(ctx context.Context, teamID string, batch []store.Publish) ([]store.Published, error) {
	if len(batch) == 0 {
		return []store.Published{}, nil
	}
	var p *publication
	err := s.tx(ctx, plain, func(ctx context.Context, tx pgx.Tx) (err error) {
		p = &publication{teamID: teamID, batch: batch, derive: s.firstScan}
		if err := p.readWebhooks(ctx, tx); err != nil {
			return err
		}
		p.match()
		if err := p.lock(ctx, tx); err != nil {
			return err
		}
		p.decide()
		return p.write(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	if len(p.deliveries.ids) > 0 {
		s.wake.wakeUp()
	}
	return p.answers, nil
}

// publication is a batch on its way into the log, in one transaction:
// readWebhooks, match, lock, decide, write. From lock on it is alone among the
// publishers.
type publication struct {
	teamID string
	batch  []store.Publish
	derive bool

	webhooks []store.Webhook // id, event types and filter of those that might take one
	matches  []match         // of the batch

	now       time.Time
	positions []int64
	keys      map[string]rememberedKey
	events    map[string]*store.Event
	scanned   map[string]bool

	answers    []store.Published
	added      []*store.Event
	newKeys    []rememberedKey
	newScans   []string
	deliveries owed
}

// match is what can be told of an item before the lock.
type match struct {
	takers        []string // webhooks that take the event
	derivedTakers []string // webhooks that take the first_scan, should it be one
	scanKey       string   // what was scanned; empty where nothing was
}

type rememberedKey struct {
	key, eventID string
	fingerprint  []byte
}

// owed are deliveries in columns.
type owed struct{ ids, webhooks, events, types []string }

// readWebhooks reads without locking, and before the lock: a webhook that was
// made before the call is seen, one that is deleted meanwhile gets a delivery
// that is cancelled when claimed.
func (p *publication) readWebhooks(ctx context.Context, tx pgx.Tx) error {
	types := map[string]bool{}
	for i := range p.batch {
		types[p.batch[i].Type] = true
		if p.batch[i].Type == store.TypeScan && p.derive {
			types[store.TypeFirstScan] = true
		}
	}
	var covering []string
	for name := range types {
		covering = append(covering, patterns(name)...)
	}
	var b pgx.Batch
	var known bool
	b.Queue(`SELECT EXISTS (SELECT FROM tellhook.teams WHERE id = $1)`, p.teamID).
		QueryRow(func(row pgx.Row) error { return row.Scan(&known) })
	b.Queue(`SELECT id, events, filter FROM tellhook.webhooks WHERE team_id = $1 AND events && $2`, p.teamID, covering).
		Query(func(rows pgx.Rows) (err error) {
			p.webhooks, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (w store.Webhook, err error) {
				var filter []byte
				if err := row.Scan(&w.ID, &w.Events, &filter); err != nil {
					return w, err
				}
				return w, decodeJSON(filter, &w.Filter)
			})
			return err
		})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	if !known {
		return noTeam(p.teamID)
	}
	return nil
}

// patterns are all that Webhook.Events may hold to cover the type (see
// store.Covers).
func patterns(name string) []string {
	all := []string{name, name + "*"}
	if store.Covers("*", name) {
		all = append(all, "*")
	}
	for i := range name {
		if i > 0 {
			all = append(all, name[:i]+"*")
		}
	}
	return all
}

func (p *publication) match() {
	p.matches = make([]match, len(p.batch))
	for i := range p.batch {
		item, m := &p.batch[i], &p.matches[i]
		data := sync.OnceValue(func() map[string]any { return store.DecodeData(item.Data) })
		m.takers = p.takers(item.Type, data)
		if key, ok := store.FirstScanKey(item.Type, item.Data); ok {
			m.scanKey = indexable(key)
			if item.Type == store.TypeScan && p.derive {
				m.derivedTakers = p.takers(store.TypeFirstScan, data)
			}
		}
	}
}

func (p *publication) takers(eventType string, data func() map[string]any) (ids []string) {
	for i := range p.webhooks {
		if p.webhooks[i].Wants(eventType, data) {
			ids = append(ids, p.webhooks[i].ID)
		}
	}
	return ids
}

// indexable shortens a key that could outgrow an index entry (2,704 bytes).
func indexable(key string) string {
	if len(key) <= 500 {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// lock makes the transaction the only publisher until its commit, so that
// positions become visible in their order, and reads what decide needs. Each
// statement has a snapshot of its own, and so sees what the publisher before
// committed.
func (p *publication) lock(ctx context.Context, tx pgx.Tx) error {
	ids, keys, scans, most := p.wanted()
	p.keys, p.events, p.scanned = map[string]rememberedKey{}, map[string]*store.Event{}, map[string]bool{}
	var b pgx.Batch
	b.Queue(`SELECT pg_advisory_xact_lock($1)`, lockPublish)
	b.Queue(`SELECT clock_timestamp()`).QueryRow(func(row pgx.Row) error { return row.Scan(&p.now) })
	b.Queue(`SELECT nextval('tellhook.event_positions') FROM generate_series(1, $1)`, most).
		Query(func(rows pgx.Rows) (err error) {
			p.positions, err = pgx.CollectRows(rows, pgx.RowTo[int64])
			return err
		})
	if len(keys) > 0 {
		b.Queue(`
			SELECT key, resource_id, fingerprint FROM tellhook.idempotency_keys
			WHERE team_id = $1 AND route = $2 AND key = ANY($3) AND created_at > clock_timestamp() - $4::interval`,
			p.teamID, routeEvents, keys, store.IdempotencyTTL).
			Query(p.collectKeys)
	}
	if len(ids)+len(keys) > 0 {
		b.Queue(`
			SELECT `+eventColumns+` FROM tellhook.events e
			WHERE team_id = $1 AND id = ANY($2::text[] || ARRAY(
				SELECT resource_id FROM tellhook.idempotency_keys WHERE team_id = $1 AND route = $3 AND key = ANY($4)))`,
			p.teamID, ids, routeEvents, keys).
			Query(p.collectEvents)
	}
	if len(scans) > 0 {
		b.Queue(`SELECT qr_key FROM tellhook.first_scans WHERE team_id = $1 AND qr_key = ANY($2)`, p.teamID, scans).
			Query(p.collectScans)
	}
	return tx.SendBatch(ctx, &b).Close()
}

// wanted are the ids, idempotency keys and scanned things of the batch, and the
// most positions that it can use.
func (p *publication) wanted() (ids, keys, scans []string, most int) {
	ids, keys, most = []string{}, []string{}, len(p.batch)
	for i := range p.batch {
		if id := p.batch[i].ID; id != "" {
			ids = append(ids, id)
		}
		if key := p.batch[i].IdempotencyKey; key != "" {
			keys = append(keys, key)
		}
		if key := p.matches[i].scanKey; key != "" {
			scans = append(scans, key)
			most++
		}
	}
	return ids, keys, scans, most
}

func (p *publication) collectKeys(rows pgx.Rows) error {
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k rememberedKey, err error) {
		err = row.Scan(&k.key, &k.eventID, &k.fingerprint)
		return k, err
	})
	for _, k := range list {
		p.keys[k.key] = k
	}
	return err
}

func (p *publication) collectEvents(rows pgx.Rows) error {
	list, err := pgx.CollectRows(rows, scanEvent)
	for i := range list {
		p.events[list[i].ID] = &list[i]
	}
	return err
}

func (p *publication) collectScans(rows pgx.Rows) error {
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, key := range list {
		p.scanned[key] = true
	}
	return err
}

func (p *publication) decide() {
	p.answers = make([]store.Published, len(p.batch))
	for i := range p.batch {
		p.answers[i] = p.place(&p.batch[i], &p.matches[i])
	}
}

// place finds an item's event or adds it.
func (p *publication) place(item *store.Publish, m *match) store.Published {
	if k, ok := p.keys[item.IdempotencyKey]; ok && item.IdempotencyKey != "" {
		if !bytes.Equal(k.fingerprint, item.Fingerprint()) {
			return store.Published{Err: store.KeyReused(item.IdempotencyKey)}
		}
		if e := p.events[k.eventID]; e != nil {
			return store.Published{Event: e, Duplicate: true}
		}
		return store.Published{Err: store.KeySpent(item.IdempotencyKey)}
	}
	if e := p.events[item.ID]; e != nil {
		if !item.SameContent(e) {
			return store.Published{Err: store.EventDiffers(e)}
		}
		p.remember(item, e.ID)
		return store.Published{Event: e, Duplicate: true}
	}
	id, at := item.ID, item.Timestamp
	if id == "" {
		id = store.NewID(store.PrefixEvent)
	}
	if at.IsZero() {
		at = p.now
	}
	e := p.add(store.Event{ID: id, Type: item.Type, Data: item.Data, Timestamp: at, IdempotencyKey: item.IdempotencyKey}, m.takers)
	p.remember(item, id)
	if m.scanKey != "" && !p.scanned[m.scanKey] {
		p.scanned[m.scanKey] = true
		p.newScans = append(p.newScans, m.scanKey)
		if item.Type == store.TypeScan && p.derive {
			p.add(store.Event{ID: store.NewID(store.PrefixEvent), Type: store.TypeFirstScan, Data: item.Data, Timestamp: at}, m.derivedTakers)
		}
	}
	return store.Published{Event: e}
}

// remember notes the item's idempotency key, if it has one.
func (p *publication) remember(item *store.Publish, eventID string) {
	if item.IdempotencyKey == "" {
		return
	}
	k := rememberedKey{key: item.IdempotencyKey, eventID: eventID, fingerprint: item.Fingerprint()}
	p.keys[k.key] = k
	p.newKeys = append(p.newKeys, k)
}

// add gives the event its place in the log and its deliveries.
func (p *publication) add(e store.Event, takers []string) *store.Event {
	e.TeamID, e.CreatedAt = p.teamID, p.now
	e.Timestamp = e.Timestamp.UTC().Truncate(time.Millisecond)
	e.Position = p.positions[len(p.added)]
	p.added = append(p.added, &e)
	p.events[e.ID] = &e
	for _, webhookID := range takers {
		d := &p.deliveries
		d.ids = append(d.ids, store.NewID(store.PrefixDelivery))
		d.webhooks, d.events, d.types = append(d.webhooks, webhookID), append(d.events, e.ID), append(d.types, e.Type)
	}
	return &e
}

func (p *publication) write(ctx context.Context, tx pgx.Tx) error {
	var b pgx.Batch
	if len(p.added) > 0 {
		p.queueEvents(&b)
	}
	if d := &p.deliveries; len(d.ids) > 0 {
		b.Queue(`
			INSERT INTO tellhook.deliveries (id, team_id, webhook_id, event_id, event_type,
				status, reason, attempts, step, lost, due_at, last_error_kind, created_at)
			SELECT d.id, $1, d.webhook_id, d.event_id, d.event_type, 'pending', '', 0, 0, 0, $2, '', $2
			FROM unnest($3::text[], $4::text[], $5::text[], $6::text[]) AS d (id, webhook_id, event_id, event_type)`,
			p.teamID, p.now, d.ids, d.webhooks, d.events, d.types)
	}
	if len(p.newKeys) > 0 {
		p.queueKeys(&b)
	}
	if len(p.newScans) > 0 {
		b.Queue(`INSERT INTO tellhook.first_scans (team_id, qr_key) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING`, p.teamID, p.newScans)
	}
	if b.Len() == 0 {
		return nil
	}
	return tx.SendBatch(ctx, &b).Close()
}

func (p *publication) queueEvents(b *pgx.Batch) {
	n := len(p.added)
	ids, types, keys := make([]string, n), make([]string, n), make([]string, n)
	times, data, positions := make([]time.Time, n), make([][]byte, n), make([]int64, n)
	for i, e := range p.added {
		ids[i], types[i], keys[i] = e.ID, e.Type, e.IdempotencyKey
		times[i], data[i], positions[i] = e.Timestamp, e.Data, e.Position
	}
	b.Queue(`
		INSERT INTO tellhook.events (team_id, created_at, id, type, occurred_at, data, idempotency_key, position)
		SELECT $1, $2, e.id, e.type, e.occurred_at, e.data, e.idempotency_key, e.position
		FROM unnest($3::text[], $4::text[], $5::timestamptz[], $6::bytea[], $7::text[], $8::bigint[])
			AS e (id, type, occurred_at, data, idempotency_key, position)`,
		p.teamID, p.now, ids, types, times, data, keys, positions)
}

func (p *publication) queueKeys(b *pgx.Batch) {
	n := len(p.newKeys)
	keys, events, fingerprints := make([]string, n), make([]string, n), make([][]byte, n)
	for i, k := range p.newKeys {
		keys[i], events[i], fingerprints[i] = k.key, k.eventID, k.fingerprint
	}
	b.Queue(`
		INSERT INTO tellhook.idempotency_keys (team_id, route, key, resource_id, fingerprint)
		SELECT $1, $2, k.key, k.resource_id, k.fingerprint
		FROM unnest($3::text[], $4::text[], $5::bytea[]) AS k (key, resource_id, fingerprint)
		ON CONFLICT (team_id, route, key) DO UPDATE -- its time is over
			SET fingerprint = excluded.fingerprint, resource_id = excluded.resource_id, created_at = excluded.created_at`,
		p.teamID, routeEvents, keys, events, fingerprints)
}
