package dispatcher

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tellhook/tellhook/store"
)

// Whatever comes and ends in whatever order: no limit is passed, and no claim
// is lost or handed out twice.
func TestLanes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.IntRange(1, 12).Draw(t, "total")
		each := rapid.IntRange(1, 12).Draw(t, "each")
		l := newLanes(total, each)
		each = min(each, total)
		running := map[string]int{}
		inFlight, waiting, made := 0, 0, 0
		begin := func(c claim) {
			running[c.Delivery.WebhookID]++
			inFlight++
			if inFlight > total || running[c.Delivery.WebhookID] > each {
				t.Fatalf("%d in flight of %d, %v of %d each", inFlight, total, running, each)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"admit": func(t *rapid.T) {
				var claims []claim
				for _, w := range rapid.SliceOfN(rapid.IntRange(0, 3), 0, 20).Draw(t, "webhooks") {
					made++
					claims = append(claims, claim{
						Claim: store.Claim{Delivery: store.Delivery{ID: fmt.Sprint(made), WebhookID: fmt.Sprint(w)}},
						at:    time.Now(),
					})
				}
				begun, surplus := l.admit(claims)
				for _, c := range begun {
					begin(c)
				}
				waiting += len(claims) - len(begun) - len(surplus)
			},
			"finish": func(*rapid.T) {
				for id, n := range running {
					if n == 0 {
						continue
					}
					running[id]--
					inFlight--
					if c, ok := l.finish(id); ok {
						waiting--
						begin(c)
					}
					return
				}
			},
			"take": func(*rapid.T) { waiting -= len(l.takeWaiting(time.Now())) },
			"": func(t *rapid.T) {
				free, full := l.room()
				if free != total-inFlight || waiting < 0 || l.busy() != (inFlight > 0) {
					t.Fatalf("%d free, %d in flight of %d, %d waiting", free, inFlight, total, waiting)
				}
				for _, id := range full {
					if running[id] < each {
						t.Fatalf("%s is called full with %d of %d", id, running[id], each)
					}
				}
			},
		})
		for inFlight > 0 {
			for id, n := range running {
				for range n {
					running[id]--
					inFlight--
					if c, ok := l.finish(id); ok {
						waiting--
						begin(c)
					}
				}
			}
		}
		if waiting != 0 || len(l.byID) != 0 {
			t.Fatalf("%d claims were left waiting, %d lanes", waiting, len(l.byID))
		}
	})
}
