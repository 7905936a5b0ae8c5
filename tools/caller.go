package tools

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/tellhook/tellhook/store"
)

// Caller is who makes a call: an authenticated key acting for a team, or the
// local team on the embedded database, which has no key.
type Caller struct {
	Team      store.Team
	KeyID     string // empty: no key
	KeyName   string
	KeyPrefix string
	Scopes    []store.Scope
	Tools     []string // MCP tools that are enabled; REST asks for scopes alone
	AllTools  bool     // every tool is enabled, those of later versions too
}

// Has tells whether the caller's scopes include s. Admin includes every scope,
// and the empty scope needs none.
func (c *Caller) Has(s store.Scope) bool {
	return s == "" || slices.Contains(c.Scopes, s) || slices.Contains(c.Scopes, store.ScopeAdmin)
}

// Enabled tells whether the key has the tool switched on. whoami is on whenever
// anything is, so that a model can always find out where it stands.
func (c *Caller) Enabled(tool string) bool {
	return c.AllTools || slices.Contains(c.Tools, tool) || tool == whoamiName && len(c.Tools) > 0
}

// AnyTool tells whether anything is enabled; where nothing is, MCP answers 403.
func (c *Caller) AnyTool() bool { return c.AllTools || len(c.Tools) > 0 }

// Off says why a tool is not to be had over MCP; empty where it is on.
func (c *Caller) Off(o *Operation) string {
	switch {
	case !o.MCP:
		return "not an MCP tool; call it over REST"
	case !c.Enabled(o.Name):
		return "not enabled on this key"
	case !c.Has(o.Scope):
		return "needs scope " + string(o.Scope)
	}
	return ""
}

// allow refuses a caller without the operation's scope.
func (c *Caller) allow(o *Operation) error {
	if c.Has(o.Scope) {
		return nil
	}
	held := "none"
	if len(c.Scopes) > 0 {
		held = strings.Join(scopeNames(c.Scopes), ", ")
	}
	return store.Errorf(store.CodeForbidden, "",
		"%s needs the scope %s; this key has %s. The operator grants it with: tellhook keys update %s --scopes …,%s", o.Name, o.Scope, held, c.Ref(), o.Scope)
}

// Ref names the key on a command line; KEY stands for the one there is not.
func (c *Caller) Ref() string {
	if c.KeyPrefix == "" {
		return "KEY"
	}
	return c.KeyPrefix
}

func scopeNames(scopes []store.Scope) []string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return names
}

type callerKey struct{}

// WithCaller puts the caller of a request into its context.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom answers the caller that WithCaller put there.
func CallerFrom(ctx context.Context) (*Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(*Caller)
	return c, ok && c != nil
}

// known is the table without a store, for what only asks what there is.
var known = sync.OnceValue(func() []*Operation { return (&Tools{}).table() })

// KnownTools are the names of all MCP tools, in the table's order.
func KnownTools() []string {
	return toolNames(func(*Operation) bool { return true })
}

// Preset answers the tools of a preset: "seed" are the three that the project
// started from, "read" those that change nothing, "all" every one.
func Preset(name string) ([]string, bool) {
	switch name {
	case "seed":
		return []string{"create_webhook", "list_webhooks", "delete_webhook"}, true
	case "read":
		return toolNames(func(o *Operation) bool { return o.ReadOnly }), true
	case "all":
		return KnownTools(), true
	}
	return nil, false
}

func toolNames(keep func(*Operation) bool) []string {
	var names []string
	for _, o := range known() {
		if o.MCP && keep(o) {
			names = append(names, o.Name)
		}
	}
	return names
}
