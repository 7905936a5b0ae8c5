package tools

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tellhook/tellhook/store"
)

const (
	restRoot = "/api/v1"
	// minBodyLimit is the least limit of a request's body, in bytes.
	minBodyLimit = 1 << 20
	teamHeader   = "Tellhook-Team"
)

// REST serves the table under /api/v1. The caller comes from the request's
// context (WithCaller); without one every route but openapi.json answers 401.
func (t *Tools) REST() http.Handler {
	mux := http.NewServeMux()
	for _, o := range t.ops {
		mux.Handle(o.Method+" "+restRoot+o.Path, t.route(o, ""))
		if o.Nested != "" {
			mux.Handle(o.Method+" "+restRoot+o.Nested, t.route(o, o.NestedArg))
		}
	}
	mux.Handle("GET "+restRoot+"/openapi.json", t.serveOpenAPI())
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { noRoute(w, r, mux) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(ensureRequestID(r.Context()))
		w.Header().Set("X-Request-Id", RequestID(r.Context()))
		mux.ServeHTTP(w, r)
	})
}

// root is the path of the service's root as clients see it: that of the public
// URL, which a proxy may take off, or none.
func (t *Tools) root() string {
	u, err := url.Parse(t.config.PublicURL)
	if err != nil {
		return ""
	}
	return u.EscapedPath()
}

// noRoute answers what ServeMux would answer as plain text.
func noRoute(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := mux.Handler(probe); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	path := store.Clip(r.URL.Path, 100)
	if len(allowed) == 0 {
		WriteError(w, r, store.Errorf(store.CodeNotFound, "", "no route %s %s; GET %s/openapi.json lists them", r.Method, path, restRoot))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeProblem(w, r, store.Errorf(store.CodeInvalid, "", "%s does not take %s; it takes %s", path, store.Clip(r.Method, 20), strings.Join(allowed, ", ")),
		http.StatusMethodNotAllowed)
}

// route serves one operation; nestedArg is the argument that the path's {id}
// fills on its nested path, which is below a webhook.
func (t *Tools) route(o *Operation, nestedArg string) http.Handler {
	parent := t.ops[slices.IndexFunc(t.ops, func(o *Operation) bool { return o.Name == "get_webhook" })]
	limit := max(minBodyLimit, int64(2*t.config.MaxEventBytes)) // with room for insignificant space
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := t.actingCaller(r)
		if err == nil {
			err = c.allow(o) // before the body is read
		}
		if err != nil {
			WriteError(w, r, err)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		args, err := o.restArgs(r, nestedArg)
		if err != nil {
			WriteError(w, r, err)
			return
		}
		ctx := WithCaller(r.Context(), c)
		if nestedArg != "" { // what is not there has no list, not even an empty one
			_, err = parent.Call(ctx, Args{"id": args[nestedArg]})
		}
		var result any
		if err == nil {
			result, err = o.Call(ctx, args)
		}
		if err != nil {
			WriteError(w, r, err)
			return
		}
		t.writeResult(w, r, o, result)
	})
}

// actingCaller answers the context's caller. An admin key acts for the team
// that the Tellhook-Team header names by id or external id.
func (t *Tools) actingCaller(r *http.Request) (*Caller, error) {
	c, ok := CallerFrom(r.Context())
	if !ok {
		return nil, errNoKey()
	}
	if len(r.Header.Values(teamHeader)) == 0 {
		return c, nil
	}
	ref := r.Header.Get(teamHeader) // given, but empty, names no team either
	if !c.Has(store.ScopeAdmin) {
		return nil, store.Errorf(store.CodeForbidden, teamHeader, "the header %s needs the scope admin; leave it out to act for the key's own team", teamHeader)
	}
	unknown := store.Errorf(store.CodeNotFound, teamHeader, "%s: no team has the id or external id %q", teamHeader, store.Clip(ref, 60))
	if !utf8.ValidString(ref) || strings.ContainsRune(ref, 0) {
		return nil, unknown
	}
	team, err := t.config.Store.FindTeam(r.Context(), ref)
	switch {
	case store.CodeOf(err) == store.CodeNotFound:
		return nil, unknown
	case err != nil:
		return nil, err
	case team.ID != ref && (team.ExternalID == nil || *team.ExternalID != ref): // found by name, which is for people
		return nil, unknown
	}
	acting := *c
	acting.Team = *team
	return &acting, nil
}

func (t *Tools) writeResult(w http.ResponseWriter, r *http.Request, o *Operation, result any) {
	if o.Status == http.StatusNoContent {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	body, err := marshal(result)
	if err != nil {
		WriteError(w, r, o.presentable(r.Context(), err))
		return
	}
	h := w.Header()
	if made, ok := result.(interface{ location() string }); ok && o.Method == http.MethodPost {
		h.Set("Location", t.root()+made.location())
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store") // an answer may hold a secret
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(o.Status)
	_, _ = w.Write(append(body, '\n')) // a client that has gone needs no answer
}
