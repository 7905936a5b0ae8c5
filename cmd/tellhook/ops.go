package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/tellhook/tellhook/server"
	"github.com/tellhook/tellhook/store"
)

// ops is the operators' address: health without a key.
type ops struct {
	ln  net.Listener // nil: none is configured
	srv *http.Server
}

const (
	opsTimeout = 5 * time.Second
	opsDrain   = 2 * time.Second
)

func (a *app) newOps(ctx context.Context, s store.Store) (*ops, error) {
	if a.cfg.OpsAddr == "" {
		return &ops{}, nil
	}
	ln, err := listen(ctx, a.cfg.OpsAddr, "TELLHOOK_OPS_ADDR or --ops-addr")
	if err != nil {
		return nil, err
	}
	a.log.Info().Str("addr", ln.Addr().String()).Msg("operators' address")
	return &ops{ln: ln, srv: &http.Server{Handler: server.Probes(s.Ping, a.log), ReadTimeout: opsTimeout, WriteTimeout: opsTimeout, IdleTimeout: time.Minute}}, nil
}

// serve answers until ctx ends.
func (o *ops) serve(ctx context.Context) error {
	if o.ln == nil {
		return nil
	}
	failed := make(chan error, 1)
	go func() { failed <- o.srv.Serve(o.ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), opsDrain)
	defer cancel()
	if err := o.srv.Shutdown(drain); errors.Is(err, context.DeadlineExceeded) {
		return o.srv.Close()
	}
	return nil
}
