package postgres

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/postgres/pgtest"
	"github.com/tellhook/tellhook/store/seal"
)

// TestLostAnswer loses the answer to an insert. A call that begins again must not
// meet what it has made itself.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	direct := pgtest.New(t)
	if err := Migrate(t.Context(), direct); err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Parse(seal.GenerateKey())
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func(*Store, string) error{
		"CreateTeam": func(s *Store, mark string) error {
			_, err := s.CreateTeam(t.Context(), mark, nil)
			return err
		},
		"CreateKey": func(s *Store, mark string) error {
			team, err := s.FindTeam(t.Context(), store.DefaultTeam)
			if err != nil {
				return err
			}
			_, err = s.CreateKey(t.Context(), team.ID, store.APIKey{Name: mark, Hash: store.HashKey(mark)})
			return err
		},
	} {
		s, err := Open(t.Context(), Config{URL: cutting(t, direct, "mark-"+name), Keys: keys, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		if err := call(s, "mark-"+name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = s.Close()
	}
}

// cutting answers the URL of a proxy to the database at direct. It loses the
// answer to the first message that holds mark, and the connection with it.
func cutting(t *testing.T, direct, mark string) string {
	t.Helper()
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	network, address := "tcp", u.Host
	query := u.Query()
	if dir := query.Get("host"); strings.HasPrefix(dir, "/") {
		port := query.Get("port")
		if port == "" {
			port = "5432"
		}
		network, address = "unix", filepath.Join(dir, ".s.PGSQL."+port)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed below
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var cut atomic.Bool
	serve := func(client net.Conn) {
		defer client.Close()
		server, err := new(net.Dialer).DialContext(t.Context(), network, address)
		if err != nil {
			return
		}
		defer server.Close()
		var mute atomic.Bool
		go func() {
			defer client.Close()
			block := make([]byte, 64<<10)
			for n, err := server.Read(block); err == nil; n, err = server.Read(block) {
				if mute.Load() {
					continue
				}
				if _, err := client.Write(block[:n]); err != nil {
					return
				}
			}
		}()
		block := make([]byte, 64<<10)
		for n, err := client.Read(block); err == nil; n, err = client.Read(block) {
			lost := bytes.Contains(block[:n], []byte(mark)) && cut.CompareAndSwap(false, true)
			mute.Store(lost)
			if _, err := server.Write(block[:n]); err != nil || lost {
				time.Sleep(100 * time.Millisecond) // the server does its work
				return
			}
		}
		_, _ = io.Copy(io.Discard, client)
	}
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go serve(c)
		}
	}()
	u.Host = l.Addr().String()
	query.Del("host")
	query.Del("port")
	query.Set("sslmode", "disable")
	u.RawQuery = query.Encode()
	return u.String()
}
