package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const examples = "../examples/receivers"

// TestGoReceiver runs the Go example; those in other languages need more than Go
// and are behind the build tag "receivers".
func TestGoReceiver(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "receiver")
	if err := build(filepath.Join(examples, "go"), ".", program); err != nil {
		t.Fatal(err)
	}
	checkExample(t, "X-Webhook-Signature", func(string) []string { return []string{program} })
}

// checkExample delivers to an example receiver, which has to answer 200, and
// sends it the same delivery tampered with, which has to get 401.
func checkExample(t *testing.T, signatureHeader string, command func(port string) []string) {
	t.Helper()
	d := deploy(t, sqlite, "TELLHOOK_SIGNATURE_HEADER="+signatureHeader, "TELLHOOK_RETRY_SCHEDULE=1s")
	c := d.rest(d.serve("--dev"))
	port := freePort(t)
	genuine := newReceiver(t, nil) // sees the same event, to tamper with
	w := c.webhook("http://127.0.0.1:"+port+"/webhooks", "scan")
	c.createWebhook(object{"url": genuine.URL, "events": []string{"scan"}, "secret": str(w, "secret")})

	out := &transcript{}
	ctx, cancel := context.WithCancel(context.Background())
	args := command(port)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PORT="+port, "WEBHOOK_SECRET="+str(w, "secret"), "SIGNATURE_HEADER="+signatureHeader)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("%v wrote:\n%s", args, out)
		}
	})
	waitForPort(t, port)

	e := c.publish("scan", object{"qr_code_id": 42, "country": "Österreich", "referer": "https://example.com/?a=1&b=<2>"})
	h := genuine.wait(t, 1, 10*time.Second)[0]
	eventually(t, 15*time.Second, func() error {
		rows := c.list("/api/v1/deliveries?webhook_id=" + str(w, "id"))
		if len(rows) != 1 || rows[0]["status"] != "succeeded" || rows[0]["attempts"] != 1.0 {
			return fmt.Errorf("deliveries to the example: %v", rows)
		}
		return nil
	})
	if text := out.String(); !strings.Contains(text, "200 scan "+e) || !strings.Contains(text, "sterreich") && !strings.Contains(text, `\u00d6sterreich`) {
		t.Errorf("%v did not print the delivery:\n%s", args, text)
	}

	forged := h.header.Clone()
	forged.Set(signatureHeader, strings.Repeat("0", 64))
	forged.Set("webhook-signature", "v1,"+strings.Repeat("A", 43)+"=")
	missing := h.header.Clone()
	missing.Del(signatureHeader)
	missing.Del("webhook-signature")
	for _, try := range []struct {
		what   string
		header http.Header
		body   string
		want   int
	}{
		{"replayed at once", h.header, string(h.body), http.StatusOK},
		{"with another body", h.header, strings.Replace(string(h.body), "42", "43", 1), http.StatusUnauthorized},
		{"with a space more", h.header, string(h.body) + " ", http.StatusUnauthorized},
		{"with a forged signature", forged, string(h.body), http.StatusUnauthorized},
		{"without a signature", missing, string(h.body), http.StatusUnauthorized},
	} {
		if got := post(t, "http://127.0.0.1:"+port+"/webhooks", try.header, try.body); got != try.want {
			t.Errorf("a delivery %s: status %d, want %d", try.what, got, try.want)
		}
	}
}

func post(t *testing.T, url string, header http.Header, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := httpClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}
