package main

import (
	"slices"
	"strings"
	"time"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

// newKey is a key to be stored; secret is its text.
func newKey(secret, name string, scopes []store.Scope, enabled []string, expires *time.Time) store.APIKey {
	slices.Sort(scopes)
	return store.APIKey{
		Name: name, Prefix: store.KeyPrefix(secret), Hash: store.HashKey(secret),
		Scopes: slices.Compact(scopes), Tools: enabled, ExpiresAt: expires,
	}
}

// parseScopes reads scopes separated by commas.
func parseScopes(text string) ([]store.Scope, error) {
	var scopes []store.Scope
	for _, word := range words(text) {
		if !slices.Contains(store.Scopes(), store.Scope(word)) {
			return nil, usage("--scopes: %q is no scope; expected some of %s", store.Clip(word, 60), joinScopes(store.Scopes()))
		}
		scopes = append(scopes, store.Scope(word))
	}
	if len(scopes) == 0 {
		return nil, usage("--scopes: expected at least one of %s", joinScopes(store.Scopes()))
	}
	slices.Sort(scopes)
	return slices.Compact(scopes), nil
}

// toolPresets are the words that stand for several tools.
var toolPresets = []string{"seed", "read", "all"}

// parseTools reads tools and presets separated by commas, in the order of the
// operation table; "none" alone is none.
func parseTools(text string) ([]string, error) {
	known := tools.KnownTools()
	enabled := []string{}
	if strings.TrimSpace(text) == "none" {
		return enabled, nil
	}
	asked := words(text)
	for _, word := range asked {
		preset, ok := tools.Preset(word)
		switch {
		case ok:
			enabled = append(enabled, preset...)
		case slices.Contains(known, word):
			enabled = append(enabled, word)
		default:
			return nil, usage("--tools: %q is no tool; expected some of %s, or the presets %s, or none",
				store.Clip(word, 60), strings.Join(known, ", "), strings.Join(toolPresets, ", "))
		}
	}
	if len(asked) == 0 {
		return nil, usage("--tools: expected some of %s, or the presets %s, or none", strings.Join(known, ", "), strings.Join(toolPresets, ", "))
	}
	return slices.DeleteFunc(known, func(tool string) bool { return !slices.Contains(enabled, tool) }), nil
}

// parseExpiry reads how long a key is to work from now on.
func parseExpiry(text string) (*time.Time, error) {
	d, err := duration(time.Second, 100*365*day)(text)
	if err != nil {
		return nil, usage("--expires-in: %q: %w", store.Clip(text, 60), err)
	}
	return new(time.Now().UTC().Add(d)), nil
}

func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

func joinScopes(scopes []store.Scope) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// describeTools writes tools shortly: by the name of a preset where they are one.
func describeTools(enabled []string) string {
	if len(enabled) == 0 {
		return "none"
	}
	for _, name := range toolPresets {
		preset, _ := tools.Preset(name)
		if sameSet(preset, enabled) {
			return name
		}
	}
	return strings.Join(enabled, ",")
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
