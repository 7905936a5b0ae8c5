package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/tellhook/tellhook/store"
)

// Pace of following an event's deliveries.
const (
	followEvery = 250 * time.Millisecond
	followMax   = 2 * time.Second // retries are minutes away
	followHint  = 5 * time.Second // without any attempt: is there a dispatcher?
)

// followed is what following needs of a delivery.
type followed struct {
	ID             string               `json:"id"`
	WebhookID      string               `json:"webhook_id"`
	Status         store.DeliveryStatus `json:"status"`
	Reason         *string              `json:"reason"`
	Attempts       int                  `json:"attempts"`
	NextAttemptAt  *string              `json:"next_attempt_at"`
	LastStatusCode *int                 `json:"last_status_code"`
	LastErrorKind  *string              `json:"last_error_kind"`
}

// follow tells on stderr how the deliveries of an event go, until all have
// ended. Its error says how many did not succeed.
func (a *app) follow(ctx context.Context, api *rest, eventID string) error {
	begun, hinted := time.Now(), false
	said := map[string]string{}
	for wait := followEvery; ; wait = min(wait*5/4, followMax) {
		deliveries, err := api.deliveries(ctx, eventID)
		if err != nil {
			return err
		}
		pending, attempts, lost := 0, 0, 0
		for _, d := range deliveries {
			if line := d.describe(); line != said[d.ID] {
				fmt.Fprintln(a.stderr, line)
				said[d.ID] = line
			}
			attempts += d.Attempts
			switch d.Status {
			case store.DeliveryPending:
				pending++
			case store.DeliveryFailed, store.DeliveryCancelled:
				lost++
			case store.DeliverySucceeded:
			}
		}
		switch {
		case len(deliveries) == 0:
			fmt.Fprintln(a.stderr, "no webhook takes this event")
			return nil
		case pending == 0 && lost > 0:
			return fmt.Errorf("%d of %d deliveries did not succeed", lost, len(deliveries))
		case pending == 0:
			return nil
		case attempts == 0 && !hinted && time.Since(begun) > followHint:
			hinted = true
			fmt.Fprintln(a.stderr, "nothing was sent yet: does a dispatcher run (tellhook serve), and are the webhooks active?")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped waiting; %d of %d deliveries are pending", pending, len(deliveries))
		case <-time.After(wait):
		}
	}
}

// deliveries lists all deliveries of an event.
func (r *rest) deliveries(ctx context.Context, eventID string) ([]followed, error) {
	var all []followed
	query := url.Values{"event_id": {eventID}, "limit": {"100"}}
	for {
		var page struct {
			Data       []followed `json:"data"`
			NextCursor *string    `json:"next_cursor"`
		}
		if err := r.call(ctx, http.MethodGet, "/deliveries?"+query.Encode(), nil, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if page.NextCursor == nil || *page.NextCursor == "" {
			return all, nil
		}
		query.Set("cursor", *page.NextCursor)
	}
}

// describe is the delivery in a line.
func (d *followed) describe() string {
	line := fmt.Sprintf("%s to %s: %s", d.ID, d.WebhookID, d.Status)
	if d.Reason != nil && *d.Reason != "" {
		line += " (" + *d.Reason + ")"
	}
	line += fmt.Sprintf(", attempts %d", d.Attempts)
	switch {
	case d.LastErrorKind != nil && *d.LastErrorKind != "" && d.LastStatusCode != nil:
		line += fmt.Sprintf(", last %s %d", *d.LastErrorKind, *d.LastStatusCode)
	case d.LastErrorKind != nil && *d.LastErrorKind != "":
		line += ", last " + *d.LastErrorKind
	case d.LastStatusCode != nil:
		line += fmt.Sprintf(", last %d", *d.LastStatusCode)
	}
	if d.Status == store.DeliveryPending && d.Attempts > 0 && d.NextAttemptAt != nil {
		line += ", next at " + *d.NextAttemptAt
	}
	return line
}
