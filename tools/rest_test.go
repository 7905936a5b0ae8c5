package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
)

func TestNoRoute(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, path := range []string{"/", "/nope", "/webhooks/", "/webhooks/a/b", ""} {
		f.call(http.MethodGet, path, "").problem(http.StatusNotFound, store.CodeNotFound, "", "openapi.json")
	}
	for path, allow := range map[string]string{
		"/webhooks": "GET, HEAD, POST", "/webhooks/whk_1": "GET, HEAD, PUT, DELETE", "/events": "GET, HEAD, POST", "/whoami": "GET, HEAD", "/openapi.json": "GET, HEAD",
	} {
		a := f.call(http.MethodPatch, path, "")
		a.problem(http.StatusMethodNotAllowed, store.CodeInvalid, "", "PATCH", allow)
		if got := a.header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow %q, want %q", path, got, allow)
		}
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	server := httptest.NewServer(f.rest)
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodHead, server.URL+"/api/v1/webhooks", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+f.key)
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ContentLength <= 0 {
		t.Errorf("HEAD: %d, %d bytes", resp.StatusCode, resp.ContentLength)
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, tc := range map[string]struct {
		body, media string
		status      int
		code        store.Code
		words       []string
	}{
		"empty":       {"", "", 400, store.CodeInvalid, []string{"empty", "url, events"}},
		"empty JSON":  {"", "application/json", 400, store.CodeInvalid, []string{"empty"}},
		"no type":     {hook, "", 415, store.CodeUnsupported, []string{"none"}},
		"form":        {hook, "application/x-www-form-urlencoded", 415, store.CodeUnsupported, []string{"application/x-www-form-urlencoded"}},
		"text":        {hook, "text/plain", 415, store.CodeUnsupported, nil},
		"latin-1":     {hook, "application/json; charset=latin1", 415, store.CodeUnsupported, nil},
		"charset":     {hook, "Application/JSON; charset=UTF-8", 201, "", nil},
		"null":        {"null", "application/json", 400, store.CodeInvalid, []string{"null", "object"}},
		"array":       {"[]", "application/json", 400, store.CodeInvalid, []string{"an array", "object"}},
		"string":      {`"x"`, "application/json", 400, store.CodeInvalid, []string{"a string"}},
		"place":       {"{\n  \"url\": x}", "application/json", 400, store.CodeInvalid, []string{"line 2, column 10"}},
		"unfinished":  {`{"url":`, "application/json", 400, store.CodeInvalid, []string{"line 1"}},
		"two":         {hook + hook, "application/json", 400, store.CodeInvalid, nil},
		"bad UTF-8":   {`{"url":"` + "\xff" + `"}`, "application/json", 400, store.CodeInvalid, []string{"UTF-8"}},
		"deep":        {`{"url":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "application/json", 400, store.CodeInvalid, []string{"depth"}},
		"over a MiB":  {`{"description":"` + strings.Repeat("x", 1<<20) + `"}`, "application/json", 413, store.CodeTooLarge, []string{"1048576"}},
		"folded case": {`{"URL":"https://example.com","events":["scan"]}`, "application/json", 400, store.CodeInvalid, []string{`"URL"`}},
	} {
		t.Run(name, func(t *testing.T) {
			f := *f
			f.T = t
			a := f.call(http.MethodPost, "/webhooks", tc.body, "Content-Type", tc.media)
			if tc.code == "" {
				a.ok(tc.status)
				return
			}
			field, _ := a.body["field"].(string)
			a.problem(tc.status, tc.code, field, tc.words...)
		})
	}
}

// TestPublicPath: behind a proxy that takes a path off, links have it.
func TestPublicPath(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tools, err := New(Config{Store: f.store, PublicURL: "https://example.com/hooks"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tools.Close)
	f.rest = authenticated(tools)
	a := f.call(http.MethodPost, "/webhooks", hook)
	want := "/hooks/api/v1/webhooks/" + a.ok(http.StatusCreated)["id"].(string)
	if got := a.header.Get("Location"); got != want {
		t.Errorf("Location %q, want %q", got, want)
	}
	doc := f.call(http.MethodGet, "/openapi.json", "").ok(http.StatusOK)
	if got := asText(t, doc["servers"]); got != `[{"url":"/hooks/api/v1"}]` {
		t.Errorf("servers %s", got)
	}
}

func TestOpenAPINeedsNoKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	doc := f.callAs("", http.MethodGet, "/openapi.json", "").ok(http.StatusOK)
	if doc["openapi"] != "3.1.0" || doc["info"].(map[string]any)["version"] != "test" {
		t.Errorf("openapi %v, info %v", doc["openapi"], doc["info"])
	}
	ids := map[string]bool{}
	for path, item := range doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			op := op.(map[string]any)
			id := op["operationId"].(string)
			if ids[id] {
				t.Errorf("operationId %s stands twice", id)
			}
			ids[id] = true
			if strings.Contains(path, "{id}") != strings.Contains(asText(t, op["parameters"]), `"in":"path"`) {
				t.Errorf("%s %s: path parameters %v", method, path, op["parameters"])
			}
		}
	}
	for _, o := range f.tools.Operations() {
		if !ids[o.Name] {
			t.Errorf("%s is not described", o.Name)
		}
	}
}

func asText(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestFailures walks the table of codes.
func TestFailures(t *testing.T) {
	t.Parallel()
	status := map[store.Code]int{
		store.CodeInvalid: 400, store.CodeUnauthenticated: 401, store.CodeForbidden: 403, store.CodeNotFound: 404, store.CodeConflict: 409,
		store.CodeUnsupported: 415, store.CodeTooLarge: 413, store.CodeRateLimited: 429, store.CodeUnavailable: 503, store.CodeInternal: 500,
	}
	if len(status) != len(failures) {
		t.Errorf("%d codes in the table, want %d", len(failures), len(status))
	}
	for code, want := range status {
		r := httptest.NewRequestWithContext(WithRequestID(t.Context(), "req_1"), http.MethodGet, "/", nil)
		w := httptest.NewRecorder()
		WriteError(w, r, &store.Error{Code: code, Message: "why", Err: errors.New("cause")})
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		detail := "why"
		if code == store.CodeInternal {
			detail = "internal error, ref req_1"
		}
		wantProblem := Problem{Type: "about:blank", Title: failures[code].title, Status: want, Detail: detail, Code: code, Retryable: code.Retryable(), RequestID: "req_1"}
		if diff := cmp.Diff(wantProblem, p); diff != "" || w.Code != want {
			t.Errorf("%s: status %d (-want +got):\n%s", code, w.Code, diff)
		}
		if (w.Header().Get("Retry-After") != "") != code.Retryable() {
			t.Errorf("%s: Retry-After %q", code, w.Header().Get("Retry-After"))
		}
	}
}

// TestInternalErrors asks that a fault of ours tells the caller a reference
// alone, and the log everything.
func TestInternalErrors(t *testing.T) {
	t.Parallel()
	type in struct{}
	type out struct{}
	for name, fail := range map[string]func() error{
		"plain":    func() error { return errors.New("dial tcp 10.0.0.1: password wrong") },
		"internal": func() error { return store.Errorf(store.CodeInternal, "", "password wrong") },
		"panic":    func() error { panic("password wrong") },
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			o := define(Operation{Name: "broken", Status: 200}, func(context.Context, *Caller, *in) (*out, error) { return nil, fail() })
			o.log = zerolog.New(&log)
			ctx := WithRequestID(WithCaller(t.Context(), &Caller{}), "req_7")
			result, err := o.Call(ctx, Args{})
			if result != nil || store.CodeOf(err) != store.CodeInternal {
				t.Fatalf("%v, %v", result, err)
			}
			if got := FailureOf(ctx, err).Message; got != "internal error, ref req_7" {
				t.Errorf("message %q", got)
			}
			if text := log.String(); !strings.Contains(text, "password wrong") || !strings.Contains(text, "req_7") {
				t.Errorf("log %q", text)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	type in struct{}
	type out struct{}
	o := define(Operation{Name: "slow", Timeout: 1}, func(ctx context.Context, _ *Caller, _ *in) (*out, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if _, err := o.Call(WithCaller(t.Context(), &Caller{}), Args{}); store.CodeOf(err) != store.CodeUnavailable {
		t.Error(err)
	}
	if _, err := o.Call(t.Context(), Args{}); store.CodeOf(err) != store.CodeUnauthenticated {
		t.Errorf("without a caller: %v", err)
	}
}
