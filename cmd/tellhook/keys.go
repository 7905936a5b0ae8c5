package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tellhook/tellhook/store"
)

type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Make a key; prints it alone, this one time."`
	List   keysListCmd   `cmd:"" help:"List keys."`
	Update keysUpdateCmd `cmd:"" help:"Change a key's name, scopes, tools or expiry."`
	Revoke keysRevokeCmd `cmd:"" help:"Revoke a key for good."`
}

// defaultScopes let a key set up webhooks and publish; neither keys:write nor
// admin is ever granted unasked.
const defaultScopes = "webhooks:read,webhooks:write,events:write"

type keysCreateCmd struct {
	Team      string `default:"default" placeholder:"TEAM" help:"Team's id, external id or name (default: default)."`
	Name      string `required:"" placeholder:"NAME" help:"What the key is for."`
	Scopes    string `default:"${default_scopes}" placeholder:"SCOPE,…" help:"Of webhooks:read, webhooks:write, events:write, keys:write and admin (default: ${default_scopes})."`
	Tools     string `default:"none" placeholder:"TOOL,…" help:"MCP tools to enable, by name, or the presets seed, read, all (default: none)."`
	ExpiresIn filled `placeholder:"TIME" help:"Such as 30d or 12h (default: never)."`
}

// Help is the long help.
func (keysCreateCmd) Help() string {
	return `The key stands alone on stdout and is never shown again. REST asks for scopes alone; over MCP a key also has only the tools enabled on it.

Examples:

    tellhook keys create --name "checkout service" --scopes events:write
    tellhook keys create --team acme --name agent --tools all --expires-in 30d
    tellhook keys create --name operator --scopes admin > admin.key`
}

// Run makes a key.
func (cmd *keysCreateCmd) Run(ctx context.Context, a *app) error {
	if err := checkName("--name", cmd.Name); err != nil {
		return err
	}
	scopes, err := parseScopes(cmd.Scopes)
	if err != nil {
		return err
	}
	enabled, err := parseTools(cmd.Tools)
	if err != nil {
		return err
	}
	var expires *time.Time
	if cmd.ExpiresIn != "" {
		if expires, err = parseExpiry(string(cmd.ExpiresIn)); err != nil {
			return err
		}
	}
	return a.withStore(ctx, func(s store.Store) error {
		team, err := findTeam(ctx, s, cmd.Team)
		if err != nil {
			return err
		}
		secret := store.NewKeySecret()
		key, err := s.CreateKey(ctx, team.ID, newKey(secret, cmd.Name, scopes, enabled, expires))
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "made %s for the team %q; store the key, it is not shown again\n", describeKey(key), team.Name)
		_, err = fmt.Fprintln(a.stdout, secret)
		return err
	})
}

func findTeam(ctx context.Context, s store.Store, ref string) (*store.Team, error) {
	team, err := s.FindTeam(ctx, ref)
	if store.CodeOf(err) == store.CodeNotFound {
		return nil, fmt.Errorf("there is no team %q, by id, external id or name; `tellhook teams list` shows those there are", store.Clip(ref, 100))
	}
	return team, err
}

// describeKey is a key in a line of words.
func describeKey(k *store.APIKey) string {
	expires := "never expires"
	if k.ExpiresAt != nil {
		expires = "expires " + stamp(*k.ExpiresAt)
	}
	return fmt.Sprintf("%s (%s…, %q): scopes %s; tools %s; %s", k.ID, k.Prefix, k.Name, joinScopes(k.Scopes), describeTools(k.Tools), expires)
}

type keysUpdateCmd struct {
	Key       string  `arg:"" help:"Id, or the first characters of the key."`
	Name      *string `placeholder:"NAME" help:"New name."`
	Scopes    *string `placeholder:"SCOPE,…" help:"New scopes, in place of the old ones."`
	Tools     *string `placeholder:"TOOL,…" help:"New tools, in place of the old ones; presets seed, read, all, none."`
	ExpiresIn filled  `xor:"expiry" placeholder:"TIME" help:"New expiry, counted from now."`
	NoExpiry  bool    `xor:"expiry" help:"Let it never expire."`
}

// Help is the long help.
func (keysUpdateCmd) Help() string {
	return `What is not given stays. A change acts within one second, on every process.

Examples:

    tellhook keys update thk_3kTzYb1Q --tools read
    tellhook keys update key_0698… --scopes webhooks:read --expires-in 30d`
}

// Run changes a key.
func (cmd *keysUpdateCmd) Run(ctx context.Context, a *app) error {
	patch, err := cmd.patch()
	if err != nil {
		return err
	}
	return a.withStore(ctx, func(s store.Store) error {
		key, err := findKey(ctx, s, cmd.Key)
		if err != nil {
			return err
		}
		if key, err = s.UpdateKey(ctx, key.TeamID, key.ID, patch); err != nil {
			return err
		}
		fmt.Fprintln(a.stderr, describeKey(key))
		return nil
	})
}

func (cmd *keysUpdateCmd) patch() (p store.KeyPatch, err error) {
	if cmd.Name == nil && cmd.Scopes == nil && cmd.Tools == nil && cmd.ExpiresIn == "" && !cmd.NoExpiry {
		return p, usage("nothing to change; give --name, --scopes, --tools, --expires-in or --no-expiry")
	}
	if cmd.Name != nil {
		if err := checkName("--name", *cmd.Name); err != nil {
			return p, err
		}
		p.Name = cmd.Name
	}
	if cmd.Scopes != nil {
		scopes, err := parseScopes(*cmd.Scopes)
		if err != nil {
			return p, err
		}
		p.Scopes = &scopes
	}
	if cmd.Tools != nil {
		enabled, err := parseTools(*cmd.Tools)
		if err != nil {
			return p, err
		}
		p.Tools = &enabled
	}
	if cmd.NoExpiry {
		p.ExpiresAt = new((*time.Time)(nil))
	}
	if cmd.ExpiresIn != "" {
		expires, err := parseExpiry(string(cmd.ExpiresIn))
		if err != nil {
			return p, err
		}
		p.ExpiresAt = &expires
	}
	return p, nil
}

type keysRevokeCmd struct {
	Key string `arg:"" help:"Id, or the first characters of the key."`
}

// Help is the long help.
func (keysRevokeCmd) Help() string {
	return `It stops working within one second, on every process, and cannot be brought back.

Example:

    tellhook keys revoke thk_3kTzYb1Q`
}

// Run revokes a key.
func (cmd *keysRevokeCmd) Run(ctx context.Context, a *app) error {
	return a.withStore(ctx, func(s store.Store) error {
		key, err := findKey(ctx, s, cmd.Key)
		if err != nil {
			return err
		}
		if key, err = s.RevokeKey(ctx, key.TeamID, key.ID); err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "revoked %s (%s…, %q)\n", key.ID, key.Prefix, key.Name)
		return nil
	})
}

// findKey finds a key by id or prefix. A whole key pasted by mistake is cut to
// its prefix, so that it reaches no message.
func findKey(ctx context.Context, s store.Store, ref string) (*store.APIKey, error) {
	if strings.HasPrefix(ref, "thk_") {
		ref = store.KeyPrefix(ref)
	}
	key, err := s.FindKey(ctx, ref)
	if store.CodeOf(err) == store.CodeNotFound {
		return nil, fmt.Errorf("there is no key %q, by id or prefix; `tellhook keys list` shows those there are", store.Clip(ref, 60))
	}
	return key, err
}
