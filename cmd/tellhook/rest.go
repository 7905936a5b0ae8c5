package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

// rest calls the REST API: of a server, or the same operations in this process.
type rest struct {
	client *http.Client
	base   string // without a slash at the end
	key    string // empty in this process
	agent  string
}

const (
	restTimeout   = 30 * time.Second
	maxRESTAnswer = 32 << 20 // bytes; an event and more
)

// newREST calls the server at the configured URL.
func (a *app) newREST() (*rest, error) {
	if a.cfg.APIKey == "" {
		return nil, errNoAPIKey
	}
	return &rest{
		base: strings.TrimSuffix(a.cfg.URL, "/mcp"), // what the bridge takes works here too
		key:  a.cfg.APIKey, agent: a.cfg.UserAgent,
		client: &http.Client{
			Timeout:   restTimeout,
			Transport: &http.Transport{TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true},
			// A redirect would carry the key to another place.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// newLocalREST calls the operations on s as the caller that authenticate answers.
func newLocalREST(t *tools.Tools, authenticate func(context.Context) (*tools.Caller, error)) *rest {
	return &rest{
		base:   "http://tellhook.invalid", // never dialled
		client: &http.Client{Timeout: restTimeout, Transport: inProcess{t.REST(), authenticate}},
	}
}

// call makes a request, with in as its JSON body where it is not nil, and
// decodes the answer into out. What the API refuses is an error in its words.
func (r *rest) call(ctx context.Context, method, path string, header http.Header, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		enc := json.NewEncoder(&body)
		enc.SetEscapeHTML(false) // data goes out as it came in
		if err := enc.Encode(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+"/api/v1"+path, &body)
	if err != nil {
		return err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		req.Header.Set("Authorization", "Bearer "+r.key)
		req.Header.Set("User-Agent", r.agent)
	}
	res, err := r.client.Do(req)
	if err != nil {
		var refused *store.Error
		if errors.As(err, &refused) { // by inProcess
			return refused
		}
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // without the method and URL, which it repeats
		}
		return fmt.Errorf("%s cannot be reached; does the server run, and is TELLHOOK_URL its address? %w", r.base, err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxRESTAnswer))
	if err != nil {
		return fmt.Errorf("the answer of %s broke off: %w", r.base, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return r.refused(res, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s answered %s, but not in Tellhook's JSON; is the URL right?", r.base, res.Status)
	}
	return nil
}

// refused words an answer that is no success.
func (r *rest) refused(res *http.Response, answer []byte) error {
	var problem tools.Problem
	if json.Unmarshal(answer, &problem) == nil && problem.Detail != "" {
		return errors.New(problem.Detail)
	}
	return fmt.Errorf("%s answered %s: %s", r.base, res.Status, store.Clip(string(printable(answer)), 200))
}

// inProcess serves requests by a handler, under a caller.
type inProcess struct {
	handler      http.Handler
	authenticate func(context.Context) (*tools.Caller, error)
}

// RoundTrip implements http.RoundTripper.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	caller, err := p.authenticate(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.WithContext(tools.WithCaller(r.Context(), caller))
	r.RequestURI, r.RemoteAddr = r.URL.RequestURI(), "local"
	w := &answer{header: http.Header{}, status: http.StatusOK}
	p.handler.ServeHTTP(w, r)
	return &http.Response{
		StatusCode: w.status, Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

// answer collects what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
	wrote  bool
}

func (w *answer) Header() http.Header { return w.header }

func (w *answer) WriteHeader(status int) {
	if !w.wrote {
		w.status, w.wrote = status, true
	}
}

func (w *answer) Write(b []byte) (int, error) {
	w.wrote = true
	return w.body.Write(b)
}
