package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/server"
	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/postgres"
	"github.com/tellhook/tellhook/tools"
)

type serveCmd struct {
	Migrate    bool `help:"Migrate PostgreSQL first; the embedded database always is."`
	NoDispatch bool `help:"Run no dispatcher in this process."`
	Dev        bool `help:"Allow webhooks on http:// and on this machine's loopback addresses. Not for production."`
}

// Help is the long help.
func (serveCmd) Help() string {
	return `One process serves MCP at /mcp (and /sse), REST at /api/v1, and sends the deliveries. The first start on an empty embedded database makes an API key and prints it once, on stderr.

Examples:

    tellhook serve
    tellhook serve --dev --addr 127.0.0.1:0
    TELLHOOK_MASTER_KEY_FILE=master.key TELLHOOK_DATABASE_URL=postgres://… tellhook serve --migrate`
}

// Run serves until ctx ends.
func (cmd *serveCmd) Run(ctx context.Context, a *app) error {
	a.warnOfIgnored()
	if cmd.Dev {
		a.cfg.allowLoopback()
		a.log.Warn().Msg("--dev: http and loopback receivers are allowed; not for production")
	}
	if cmd.Migrate && !a.cfg.Database.embedded() {
		if err := postgres.Migrate(ctx, a.cfg.Database.url); err != nil {
			return err
		}
	}
	return a.withStore(ctx, func(s store.Store) error { return cmd.serve(ctx, a, s) })
}

// allowLoopback lets deliveries go to this machine in the clear.
func (c *Config) allowLoopback() {
	c.AllowHTTP = true
	c.AllowNetworks = append(c.AllowNetworks, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
}

func (cmd *serveCmd) serve(ctx context.Context, a *app, s store.Store) error {
	ln, err := listen(ctx, a.cfg.Addr, "TELLHOOK_ADDR or --addr")
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }() // closed by then, but where something below fails
	ops, err := a.newOps(ctx, s)
	if err != nil {
		return err
	}
	public := a.cfg.PublicURL
	if public == "" {
		public = baseURL(ln.Addr())
	}
	t, err := a.newTools(s, public)
	if err != nil {
		return err
	}
	defer t.Close()
	handler, err := a.newHandler(s, t)
	if err != nil {
		return err
	}
	if a.cfg.Database.embedded() {
		if err := a.firstRun(ctx, s, public); err != nil {
			return err
		}
	}
	a.log.Info().Str("addr", ln.Addr().String()).Str("url", public).Str("version", buildInfo().Version).
		Bool("dispatch", !cmd.NoDispatch).Msg("listening")
	if a.cfg.PublicURL == "" && len(a.cfg.AllowedHosts) == 0 && !loopback(ln.Addr()) {
		a.log.Warn().Msg("other machines reach this address, but only requests to a loopback Host are served; set TELLHOOK_PUBLIC_URL or TELLHOOK_ALLOWED_HOSTS to the name that they use")
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return handler.Serve(ctx, ln) })
	g.Go(func() error { return ops.serve(ctx) })
	if !cmd.NoDispatch {
		g.Go(func() error { return a.dispatch(ctx, s) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	a.log.Info().Msg("stopped")
	return nil
}

func (a *app) newHandler(s store.Store, t *tools.Tools) (*server.Server, error) {
	return server.Handler(server.Config{
		Tools:          t,
		Ready:          s.Ping,
		PublicURL:      a.cfg.PublicURL,
		ProductName:    a.cfg.ProductName,
		AllowedHosts:   a.cfg.AllowedHosts,
		AllowedOrigins: a.cfg.AllowedOrigins,
		TrustedProxies: a.cfg.TrustedProxies,
		MaxBodyBytes:   max(1<<20, int64(a.cfg.MaxEventBytes)+64<<10), // room for the event's other fields
		Log:            a.log,
	})
}

// listen opens an address; set says how it is chosen.
func listen(ctx context.Context, addr, set string) (net.Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("the address %s is taken by another process; stop that one, or choose another address with %s (:0 picks a free port)", addr, set)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("this user may not listen on %s; choose a port above 1023 with %s", addr, set)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s: %w; choose another address with %s", addr, err, set)
	}
	return ln, nil
}

func loopback(addr net.Addr) bool {
	ap, err := netip.ParseAddrPort(addr.String())
	return err == nil && ap.Addr().IsLoopback()
}

// baseURL is where this machine reaches a listener.
func baseURL(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
