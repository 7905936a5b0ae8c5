package main

import (
	"slices"
	"testing"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

// A read-only caller keeps nothing that writes, and gains nothing.
func TestReadOnlyCaller(t *testing.T) {
	t.Parallel()
	reading, _ := tools.Preset("read")
	local := readOnlyCaller(&tools.Caller{Scopes: store.TeamScopes(), AllTools: true})
	if local.AllTools || !slices.Equal(local.Tools, reading) || local.Has(store.ScopeWebhooksWrite) || local.Has(store.ScopeEventsWrite) || !local.Has(store.ScopeWebhooksRead) {
		t.Errorf("local team: %+v", local)
	}
	admin := readOnlyCaller(&tools.Caller{Scopes: []store.Scope{store.ScopeAdmin}, Tools: []string{"create_webhook", "get_webhook"}})
	if admin.Has(store.ScopeAdmin) || !admin.Has(store.ScopeWebhooksRead) || admin.Enabled("create_webhook") || !admin.Enabled("get_webhook") || admin.Enabled("list_webhooks") {
		t.Errorf("admin: %+v", admin)
	}
	publisher := readOnlyCaller(&tools.Caller{Scopes: []store.Scope{store.ScopeEventsWrite}})
	if len(publisher.Scopes) != 0 || publisher.AnyTool() {
		t.Errorf("publisher: %+v", publisher)
	}
}
