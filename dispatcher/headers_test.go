package dispatcher

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tellhook/tellhook/store"
)

func TestCheckHeaders(t *testing.T) {
	for _, ok := range []map[string]string{
		nil,
		{"X-Api-Key": "s3cret", "Authorization": "Bearer abc", "X-Empty": ""},
		{"X-Long": strings.Repeat("v", maxHeaderValue)},
	} {
		if err := CheckHeaders(ok, DefaultSignatureHeader); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
	many := map[string]string{}
	for i := range MaxHeaders + 1 {
		many[fmt.Sprint("X-", i)] = "v"
	}
	bad := []map[string]string{
		many,
		{"": "v"},
		{"X Y": "v"},
		{"X:Y": "v"},
		{"X\r\nY": "v"},
		{"Ü": "v"},
		{strings.Repeat("x", maxHeaderName+1): "v"},
		{"X-A": "a\r\nHost: evil"},
		{"X-A": "a\x00"},
		{"X-A": strings.Repeat("v", maxHeaderValue+1)},
		{"X-A": "1", "x-a": "2"},
	}
	for _, name := range []string{
		"Host", "host", "Content-Length", "content-type", "Content-Encoding", "Transfer-Encoding", "Connection",
		"Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Authorization", "Proxy-Connection", "Expect", "Cookie", "User-Agent",
		"webhook-id", "Webhook-Anything", "x-webhook-event", "X-Webhook-Signature", "X-NearNode-Signature",
		"Idempotency-Key", "idempotency-key", "X-Idempotency-Key",
	} {
		bad = append(bad, map[string]string{name: "value-of-it"})
	}
	for _, headers := range bad {
		err := CheckHeaders(headers, "X-NearNode-Signature")
		var e *store.Error
		if !errors.As(err, &e) || e.Code != store.CodeInvalid || e.Field != "headers" {
			t.Errorf("%.60v: %v", headers, err)
		} else if strings.Contains(e.Message, "value-of-it") {
			t.Errorf("the error quotes the value: %v", e)
		}
	}
}
