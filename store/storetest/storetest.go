// Package storetest is the conformance suite of store.Store: what the interface
// promises, checked on a real database. Each implementation runs it in its own
// tests.
package storetest

import (
	"testing"

	"github.com/tellhook/tellhook/store"
)

type test struct {
	name string
	run  func(*fixture)
}

// Run runs the suite. open answers a store on a fresh, migrated database that
// derives first_scan events and holds nothing but the team store.DefaultTeam;
// it closes the store by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, subject := range []struct {
		name  string
		tests []test
	}{
		{"Teams", teamTests},
		{"Keys", keyTests},
		{"Webhooks", webhookTests},
		{"Publish", publishTests},
		{"FirstScan", firstScanTests},
		{"Matching", matchTests},
		{"Log", logTests},
		{"Deliveries", deliveryTests},
		{"Claims", claimTests},
		{"Outcomes", outcomeTests},
		{"Health", healthTests},
		{"Lapsed", lapsedTests},
		{"Paging", pagingTests},
		{"Tenancy", tenancyTests},
		{"Prune", pruneTests},
	} {
		t.Run(subject.name, func(t *testing.T) {
			for _, c := range subject.tests {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					f := &fixture{t: t, s: open(t)}
					f.team = f.findTeam(store.DefaultTeam).ID
					c.run(f)
				})
			}
		})
	}
}
