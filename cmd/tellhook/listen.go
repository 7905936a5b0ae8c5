package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tellhook/tellhook/dispatcher"
)

type listenCmd struct {
	Secret filled `placeholder:"SECRET" help:"The webhook's signing secret; each signature is checked with it."`
	Status int    `default:"200" placeholder:"CODE" help:"HTTP status to answer (default: 200)."`
	JSON   bool   `help:"Print one line of JSON for each delivery."`
}

// listenAddr is where listen listens unless --addr is given.
const listenAddr = "127.0.0.1:9000"

// Help is the long help.
func (listenCmd) Help() string {
	return `Prints each delivery on stdout and answers it. It listens on ` + listenAddr + `, or on --addr. Webhooks to this machine need a server that allows them: tellhook serve --dev.

Examples:

    tellhook listen --secret whsec_…
    tellhook listen --addr 127.0.0.1:0 --status 503
    tellhook listen --json | jq .event`
}

const (
	listenTimeout = 10 * time.Second
	maxShown      = 16 << 10 // bytes of a body that are printed
)

// receiver prints deliveries.
type receiver struct {
	listenCmd
	signatureHeader string
	maxBody         int64

	mu  sync.Mutex // one delivery is printed at a time
	out io.Writer
}

// Run receives until ctx ends.
func (cmd *listenCmd) Run(ctx context.Context, a *app) error {
	if cmd.Status < 200 || cmd.Status > 599 {
		return usage("--status: %d came, expected 200 to 599", cmd.Status)
	}
	addr := listenAddr
	if a.cfg.fromFlag("TELLHOOK_ADDR") {
		addr = a.cfg.Addr
	}
	ln, err := listen(ctx, addr, "--addr")
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler: &receiver{
			listenCmd: *cmd, signatureHeader: a.cfg.SignatureHeader, maxBody: int64(a.cfg.MaxEventBytes) + 64<<10, out: a.stdout,
		},
		ReadTimeout: listenTimeout, WriteTimeout: listenTimeout, IdleTimeout: time.Minute,
	}
	a.log.Info().Str("addr", ln.Addr().String()).Str("url", baseURL(ln.Addr())+"/").Msg("listening")
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), listenTimeout)
	defer cancel()
	return srv.Shutdown(drain)
}

// received is a delivery as it is printed.
type received struct {
	ReceivedAt string          `json:"received_at"`
	Event      string          `json:"event"`
	EventID    string          `json:"event_id"`
	DeliveryID string          `json:"delivery_id"`
	Attempt    string          `json:"attempt"`
	Signature  string          `json:"signature"`          // of the plain header
	Standard   string          `json:"standard_signature"` // of Standard Webhooks
	Answered   int             `json:"answered"`
	Body       json.RawMessage `json:"body"` // a string where it was not JSON
}

// ServeHTTP prints a delivery and answers it.
func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, rc.maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(w, "the body broke off", http.StatusBadRequest)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "deliveries are POST requests", http.StatusMethodNotAllowed)
		return
	}
	rc.print(rc.receive(r.Header, body), body)
	w.WriteHeader(rc.Status)
}

func (rc *receiver) receive(h http.Header, body []byte) *received {
	d := &received{
		ReceivedAt: stamp(time.Now()),
		Event:      h.Get("X-Webhook-Event"),
		EventID:    h.Get("webhook-id"),
		DeliveryID: h.Get("X-Webhook-Delivery"),
		Attempt:    h.Get("X-Webhook-Attempt"),
		Answered:   rc.Status,
		Body:       body,
	}
	d.Signature = rc.verdict(h.Get(rc.signatureHeader), func(signature string) error {
		return dispatcher.VerifyPlain(string(rc.Secret), signature, body)
	})
	d.Standard = rc.verdict(h.Get("webhook-signature"), func(string) error {
		return dispatcher.Verify(string(rc.Secret), h, body)
	})
	if !json.Valid(body) {
		d.Body, _ = json.Marshal(string(body)) // a string always marshals
	}
	return d
}

func (rc *receiver) verdict(signature string, verify func(string) error) string {
	switch {
	case signature == "":
		return "missing"
	case rc.Secret == "":
		return "not checked"
	case verify(signature) != nil:
		return "wrong"
	}
	return "verified"
}

func (rc *receiver) print(d *received, body []byte) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.JSON {
		enc := json.NewEncoder(rc.out)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(d) // the answer to the sender does not depend on our reader
		return
	}
	head := fmt.Sprintf("%s  %s  %s  delivery %s  attempt %s  answered %d\n  %s: %s; webhook-signature: %s",
		d.ReceivedAt, orWord(d.Event), orWord(d.EventID), orWord(d.DeliveryID), orWord(d.Attempt), d.Answered,
		rc.signatureHeader, d.Signature, d.Standard)
	fmt.Fprintf(rc.out, "%s\n%s\n\n", printable([]byte(head)), printable(pretty(body)))
}

func orWord(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// pretty indents JSON, two spaces from the margin, and cuts what is long.
func pretty(body []byte) []byte {
	var indented strings.Builder
	enc := json.NewEncoder(&indented)
	enc.SetEscapeHTML(false)
	enc.SetIndent("  ", "  ")
	if !json.Valid(body) || enc.Encode(json.RawMessage(body)) != nil {
		indented.Reset()
		indented.Write(body)
	}
	text := "  " + strings.TrimRight(indented.String(), "\n")
	if len(text) > maxShown {
		text = text[:maxShown] + fmt.Sprintf("\n  … cut; the body has %d bytes", len(body))
	}
	return []byte(text)
}
