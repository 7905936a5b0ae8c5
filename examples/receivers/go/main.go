// Command go receives webhooks and verifies them with the Standard Webhooks
// library (https://www.standardwebhooks.com), which also refuses deliveries
// that were signed more than five minutes ago.
//
//	WEBHOOK_SECRET=whsec_… go run .
//
// PORT (9000) can be set too.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const maxBody = 1 << 20 // bytes; four times what Tellhook sends at most

type event struct {
	Type      string          `json:"event"`
	ID        string          `json:"event_id"`
	Timestamp time.Time       `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	secret := os.Getenv("WEBHOOK_SECRET")
	if secret == "" {
		return errors.New("set WEBHOOK_SECRET to the secret that you got when you created the webhook")
	}
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "9000"
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	server := &http.Server{Handler: receiver(verifier), ReadTimeout: 10 * time.Second}
	return server.Serve(listener)
}

func receiver(verifier *standardwebhooks.Webhook) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The signature covers the body's bytes as they came: verify before parsing.
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, "body too large or broken off", http.StatusRequestEntityTooLarge)
			return
		}
		if err := verifier.Verify(body, r.Header); err != nil {
			fmt.Println("401", err)
			http.Error(w, "invalid signature", http.StatusUnauthorized)
			return
		}
		var e event
		if err := json.Unmarshal(body, &e); err != nil {
			fmt.Println("400", err)
			http.Error(w, "not a JSON body", http.StatusBadRequest)
			return
		}
		fmt.Printf("200 %s %s %s\n", e.Type, e.ID, e.Data)
		// Answer first and work later: a delivery is given up after 10 seconds.
		fmt.Fprintln(w, "ok")
	})
}
