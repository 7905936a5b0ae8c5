package main

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"10s": 10 * time.Second, "30d": 30 * day, "0d": 0, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "10", "1d-1h", "-1d", "1.5d", "12h1d", "999999d", "1dx"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", text, got)
		}
	}
}

// What the help and the faults write can be given back.
func TestFormatDurationRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, int64(1000*day)).Draw(t, "d"))
		if rapid.Bool().Draw(t, "whole days") {
			d = d.Truncate(day) + day
		}
		if got, err := parseDuration(formatDuration(d)); err != nil || got != d {
			t.Errorf("%v is written %q and read %v, %v", d, formatDuration(d), got, err)
		}
	})
}

func TestValues(t *testing.T) {
	t.Parallel()
	reads := map[string]func(string) error{
		"address":         into(new(string), address),
		"url":             into(new(string), webURL),
		"origin":          into(new(string), origin),
		"host":            into(new(string), hostName),
		"signatureHeader": into(new(string), signatureHeader),
		"database":        into(new(database), parseDatabase),
		"fraction":        into(new(float64), fraction),
		"line":            into(new(string), line(5)),
	}
	for _, c := range []struct {
		read, good, bad string // values separated by spaces
	}{
		{"address", ":0 127.0.0.1:8080 [::1]:80 localhost:65535", "8080 localhost :65536 :http [::1] 1:2:3"},
		{"url", "https://example.com http://127.0.0.1:8080/base/", "example.com ftp://x https:// https://u:p@x https://x?q https://x#f"},
		{"origin", "https://app.example.com http://localhost:3000", "app.example.com https://x/ https://x/path null *"},
		{"host", "example.com example.com:8443 [::1]:80 10.0.0.1", "https://example.com a/b :80"},
		{"signatureHeader", "X-NearNode-Signature X-Webhook-Signature x-webhook-hmac Signature", "webhook-signature Webhook-Id X-Webhook-Event Host Content-Type User-Agent a/b Idempotency-Key"},
		{"database", "sqlite:x.db sqlite:/a/b.db sqlite:///a/b.db postgres://h/d postgresql://h/d", "sqlite: sqlite:dir/ sqlite::memory: sqlite://host/x.db mysql://h/d /a/b.db postgres:h postgres://%zz"},
		{"fraction", "0 0.1 1", "-0.1 1.1 NaN Inf x"},
		{"line", "a abcde", "abcdef a\x00b \u0085"},
	} {
		for _, text := range strings.Split(c.good, " ") {
			if err := reads[c.read](text); err != nil {
				t.Errorf("%s %q: %v", c.read, text, err)
			}
		}
		for _, text := range strings.Split(c.bad, " ") {
			if err := reads[c.read](text); err == nil {
				t.Errorf("%s %q was taken", c.read, text)
			}
		}
	}
}

func TestRedactURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"sqlite:/a/b.db":                        "sqlite:/a/b.db",
		"postgres://u@h/d":                      "postgres://u@h/d",
		"postgres://u:secret@h:5432/d?x=1":      "postgres://u:redacted@h:5432/d?x=1",
		"postgres://h/d?password=secret&user=u": "postgres://h/d?password=redacted&user=u",
		"postgres://u:%zz@h/d":                  redacted,
	} {
		if got := redactURL(text); got != want {
			t.Errorf("redactURL(%q) = %q, want %q", text, got, want)
		}
	}
}

// Every setting has a default that it accepts, and help.
func TestSettings(t *testing.T) {
	t.Parallel()
	c := newConfig(environment{"HOME": "/home/someone"})
	if err := c.load(environment{"HOME": "/home/someone"}); err != nil {
		t.Fatal(err)
	}
	for _, s := range c.settings {
		if s.help == "" || s.group == "" || (s.holder == "") != s.boolean {
			t.Errorf("%s lacks help, a group or a placeholder", s.name)
		}
	}
	if c.Timeout != 10*time.Second || c.Retention != 30*day || c.Jitter != 0.1 || !c.DeriveFirstScan || len(c.Schedule) != 3 || c.Concurrency != 256 {
		t.Errorf("defaults: %+v", c)
	}
}

// A first_scan is derived only where the type exists.
func TestDerivesFirstScan(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]bool{
		"":                                       true,
		"TELLHOOK_DERIVE_FIRST_SCAN=false":       false,
		"TELLHOOK_BUILTIN_TYPES=scan":            false,
		"TELLHOOK_BUILTIN_TYPES=scan,first_scan": true,
	} {
		e := newEnvironment([]string{"HOME=/home/someone", env})
		c := newConfig(e)
		if err := c.load(e); err != nil {
			t.Fatal(err)
		}
		if got := c.derivesFirstScan(); got != want {
			t.Errorf("%q: derivesFirstScan = %v, want %v", env, got, want)
		}
	}
}
