package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/tellhook/tellhook/store"
)

type sendCmd struct {
	Event          string    `arg:"" help:"Event type, such as scan.created."`
	Data           dataValue `required:"" placeholder:"JSON|@FILE|-" help:"The event's data: a JSON object, @FILE, or - for stdin."`
	IdempotencyKey filled    `placeholder:"KEY" help:"The same key and event within 24 hours publish once."`
	EventID        filled    `name:"event-id" placeholder:"ID" help:"Your own id for the event; the same one again publishes once."`
	Timestamp      filled    `placeholder:"TIME" help:"When it happened, RFC 3339 (default: now)."`
	Wait           bool      `help:"Follow its deliveries to the end; exit 1 where one does not succeed."`
}

// Help is the long help.
func (sendCmd) Help() string {
	return `Prints the event's id. With TELLHOOK_URL it calls that server under TELLHOOK_API_KEY; else it works on the database, on the embedded one without a key as the team "default". Some dispatcher (tellhook serve) has to run for anything to be delivered.

Examples:

    tellhook send scan.created --data '{"node_slug":"spring","node_id":"n_1"}'
    tellhook send scan --data @scan.json --idempotency-key order-17 --wait
    jq -c .data event.json | tellhook send form_submit --data -`
}

// dataValue is --data as it was given.
type dataValue string

// Decode implements kong.MapperValue: a dash alone is a value too.
func (d *dataValue) Decode(ctx *kong.DecodeContext) error {
	if token := ctx.Scan.Peek(); token.Value == "-" {
		ctx.Scan.Pop()
		*d = "-"
		return nil
	}
	return ctx.Scan.PopValueInto("JSON, @FILE or -", (*string)(d))
}

// maxData bounds what is read before the API judges it, in bytes: more than any
// limit that can be configured, spaces included.
const maxData = 32 << 20

// read answers the data, checked to be JSON.
func (d dataValue) read(stdin io.Reader) (json.RawMessage, error) {
	var source io.Reader = strings.NewReader(string(d))
	name := "the value"
	if path, ok := strings.CutPrefix(string(d), "@"); ok {
		f, err := os.Open(path) //nolint:gosec // the user names the file
		if err != nil {
			return nil, usage("--data: %w", err)
		}
		defer func() { _ = f.Close() }() // only read
		source, name = f, path
	} else if d == "-" {
		source, name = stdin, "stdin"
	}
	b, err := io.ReadAll(io.LimitReader(source, maxData+1))
	if err != nil {
		return nil, fmt.Errorf("--data: %s: %w", name, err)
	}
	if len(b) > maxData {
		return nil, usage("--data: %s is larger than %d bytes", name, maxData)
	}
	var raw json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, usage("--data: %s is not JSON (%w); expected an object such as {\"qr_code_id\":42}, @FILE or -", name, err)
	}
	return bytes.TrimSpace(raw), nil
}

// publish is the body of POST /events.
type publish struct {
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp string          `json:"timestamp,omitempty"`
	EventID   string          `json:"event_id,omitempty"`
}

// Run publishes the event.
func (cmd *sendCmd) Run(ctx context.Context, a *app) error {
	data, err := cmd.Data.read(a.stdin)
	if err != nil {
		return err
	}
	if a.cfg.URL != "" {
		api, err := a.newREST()
		if err != nil {
			return err
		}
		return cmd.send(ctx, a, api, data)
	}
	return a.withStore(ctx, func(s store.Store) error {
		t, err := a.newTools(s, a.cfg.PublicURL)
		if err != nil {
			return err
		}
		defer t.Close()
		authenticate, err := a.authenticator(ctx, s, t, false)
		if err != nil {
			return err
		}
		return cmd.send(ctx, a, newLocalREST(t, authenticate), data)
	})
}

func (cmd *sendCmd) send(ctx context.Context, a *app, api *rest, data json.RawMessage) error {
	header := http.Header{}
	if cmd.IdempotencyKey != "" {
		header.Set("Idempotency-Key", string(cmd.IdempotencyKey))
	}
	var event struct {
		ID string `json:"id"`
	}
	in := publish{Event: cmd.Event, Data: data, Timestamp: string(cmd.Timestamp), EventID: string(cmd.EventID)}
	if err := api.call(ctx, http.MethodPost, "/events", header, in, &event); err != nil {
		return err
	}
	if event.ID == "" {
		return errors.New("the server accepted the event but answered no id; is TELLHOOK_URL a Tellhook server?")
	}
	if _, err := fmt.Fprintln(a.stdout, event.ID); err != nil || !cmd.Wait {
		return err
	}
	return a.follow(ctx, api, event.ID)
}
