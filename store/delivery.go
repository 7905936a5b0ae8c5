package store

import (
	"time"
)

// Delivery is one event owed to one webhook.
//
//	pending ──► succeeded
//	   │  ▲
//	   │  └───── retry ─── failed, succeeded
//	   ├─────► failed      (schedule exhausted, 410, ten lost senders)
//	   └─────► cancelled   (webhook deleted, event erased, expired)
//
// "Being sent" is a lease in the future on a pending delivery, not a state.
type Delivery struct {
	ID        string
	TeamID    string
	WebhookID string
	EventID   string
	EventType string
	Status    DeliveryStatus
	Reason    string // why it is failed or cancelled: see the Reason constants

	Attempts      int        // attempts begun; the newest one's number
	Step          int        // attempts of this run of the schedule that counted; a retry sets it to 0
	InFlight      bool       // the newest attempt is being sent under a lease
	NextAttemptAt *time.Time // while pending and not in flight

	LastStatusCode *int
	LastErrorKind  ErrorKind
	CreatedAt      time.Time
	FinishedAt     *time.Time
}

// MaxAttempts is the number that the last attempt will have when every one to
// come fails; retries is the schedule's length.
func (d *Delivery) MaxAttempts(retries int) int {
	begun := d.Attempts
	if d.InFlight {
		begun--
	}
	return begun - d.Step + retries + 1
}

// DeliveryStatus is a state of the machine above.
type DeliveryStatus string

// The states.
const (
	DeliveryPending   DeliveryStatus = "pending"
	DeliverySucceeded DeliveryStatus = "succeeded"
	DeliveryFailed    DeliveryStatus = "failed"
	DeliveryCancelled DeliveryStatus = "cancelled"
)

// Reasons of finished deliveries.
const (
	ReasonExhausted      = "exhausted"       // failed: the schedule's last attempt failed
	ReasonGone           = "gone"            // failed: the receiver answered 410
	ReasonLost           = "lost"            // failed: MaxUnknown senders in a row died
	ReasonWebhookDeleted = "webhook_deleted" // cancelled
	ReasonEventErased    = "event_erased"    // cancelled
	ReasonExpired        = "expired"         // cancelled: pending past the retention
)

// MaxUnknown is how many lost attempts in a row fail a delivery.
const MaxUnknown = 10

// LostText is the error of an attempt whose sender died.
const LostText = "the sender ended before it reported an outcome; nobody knows whether the request arrived"

// ErrorKind classifies a failed attempt; empty for a success.
type ErrorKind string

// The kinds.
const (
	ErrorTimeout  ErrorKind = "timeout"
	ErrorDNS      ErrorKind = "dns"
	ErrorConnect  ErrorKind = "connect"
	ErrorTLS      ErrorKind = "tls"
	ErrorBlocked  ErrorKind = "blocked"  // the egress guard refused the address
	ErrorRedirect ErrorKind = "redirect" // 3xx; never followed
	ErrorStatus   ErrorKind = "status"   // 4xx, 5xx
	ErrorBody     ErrorKind = "body"     // the response broke off or was malformed
	ErrorInternal ErrorKind = "internal" // a fault of ours
	ErrorUnknown  ErrorKind = "unknown"  // the sender died; nobody knows what arrived
)

// Attempt is one HTTP request of a delivery, immutable.
type Attempt struct {
	ID         string
	DeliveryID string
	Number     int // from 1; goes on over retries
	StartedAt  time.Time
	Duration   time.Duration
	Phases     Phases
	StatusCode *int // nil: no response
	ErrorKind  ErrorKind
	Error      string // in words; empty on success

	ResponseHeaders   map[string][]string // first 8 KiB
	ResponseBody      []byte              // first 16 KiB, whatever bytes came
	ResponseTruncated bool                // headers or body were cut
	RemoteIP          string              // address that was connected to
}

// Phases are the parts of an attempt's time; zero where a phase did not happen.
type Phases struct {
	DNS       time.Duration
	Connect   time.Duration
	TLS       time.Duration
	FirstByte time.Duration // from the request's last byte written to the response's first
}

// Claim is a delivery taken for sending: attempt number Delivery.Attempts and a
// lease are committed. Event and Webhook are shared between the claims of a
// batch: read them, don't change them.
type Claim struct {
	Delivery Delivery
	Event    *Event
	Webhook  *Webhook // secrets opened
}

// Result is what a sender reports of one claim.
type Result struct {
	Attempt Attempt        // DeliveryID and Number name the claim; Number is the fencing token
	Status  DeliveryStatus // DeliverySucceeded, DeliveryFailed, or DeliveryPending for a retry
	Reason  string         // with DeliveryFailed
	RetryIn time.Duration  // with DeliveryPending: wait from now, by the database's clock
	Gone    bool           // pause the webhook with PausedGone
}

// Recorded tells what RecordAttempts did with one Result.
type Recorded struct {
	Applied bool // false: the claim was no longer the sender's, and nothing changed
	// Webhook is set where this attempt changed the webhook's health or paused
	// it: the webhook as it is now, secrets left out.
	Webhook *Webhook
}

// DeliveryQuery narrows ListDeliveries. Empty fields do not.
type DeliveryQuery struct {
	Page
	WebhookID string
	EventID   string
	Status    DeliveryStatus
	EventType string
	Since     time.Time // CreatedAt at or after
	Until     time.Time // CreatedAt before
}
