package postgres

import (
	"encoding/json"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store"
)

// TestIdempotencyKeysEnd ages keys past their time: they bind no more, pruned or
// not.
func TestIdempotencyKeysEnd(t *testing.T) {
	t.Parallel()
	s := openInternal(t)
	team, err := s.FindTeam(t.Context(), store.DefaultTeam)
	if err != nil {
		t.Fatal(err)
	}
	publishAs := func(data string) store.Published {
		answers, err := s.PublishEvents(t.Context(), team.ID, []store.Publish{{Type: "a", Data: json.RawMessage(data), IdempotencyKey: "k"}})
		if err != nil {
			t.Fatal(err)
		}
		return answers[0]
	}
	createAs := func(fingerprint string) (created bool, err error) {
		_, created, err = s.CreateWebhook(t.Context(), team.ID, &store.Webhook{
			Kind: store.KindWebhook, URL: "https://example.com/", Events: []string{"*"}, Status: store.StatusActive,
			Secrets: []store.Secret{{Value: "whsec_c2VjcmV0LW9mLXRlc3Rz"}},
		}, &store.Idempotency{Key: "k", Fingerprint: []byte(fingerprint)})
		return created, err
	}
	publishAs(`{"n":1}`)
	if _, err := createAs("one"); err != nil {
		t.Fatal(err)
	}
	_, err = createAs("two")
	if store.CodeOf(err) != store.CodeConflict || store.CodeOf(publishAs(`{"n":2}`).Err) != store.CodeConflict {
		t.Fatal("a young key does not bind")
	}
	_, err = s.pool.Exec(t.Context(), `UPDATE tellhook.idempotency_keys SET created_at = created_at - $1::interval`, store.IdempotencyTTL+time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if got := publishAs(`{"n":3}`); got.Err != nil || got.Duplicate {
		t.Errorf("publish under a key whose time is over: %+v", got)
	}
	if created, err := createAs("three"); err != nil || !created {
		t.Errorf("create under a key whose time is over: %v, %v", created, err)
	}
	_, err = createAs("four")
	if store.CodeOf(err) != store.CodeConflict || store.CodeOf(publishAs(`{"n":4}`).Err) != store.CodeConflict {
		t.Error("the keys do not bind anew")
	}
}

// TestOtherIsolationByDefault publishes where the operator's databases default to
// a stricter isolation: there a transaction would not see what the publisher
// before it committed.
func TestOtherIsolationByDefault(t *testing.T) {
	t.Parallel()
	s := openInternal(t, "default_transaction_isolation=repeatable%20read")
	team, err := s.FindTeam(t.Context(), store.DefaultTeam)
	if err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			answers, err := s.PublishEvents(t.Context(), team.ID, []store.Publish{{ID: "same", Type: "a", Data: json.RawMessage(`{}`)}})
			if err == nil {
				err = answers[0].Err
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	list, err := s.ListEvents(t.Context(), team.ID, store.EventQuery{})
	if err != nil || len(list.Data) != 1 {
		t.Errorf("%d events, %v; want one", len(list.Data), err)
	}
}
