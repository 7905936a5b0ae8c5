package server

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

// origins judges who may talk to us from where: the Host header against DNS
// rebinding, the Origin header against pages of other sites. The library
// checks neither well enough.
type origins struct {
	hosts   []string // lower case, without port
	allowed []string // origins, lower case
}

func newOrigins(c *Config) origins {
	var o origins
	for _, host := range c.AllowedHosts {
		o.hosts = append(o.hosts, hostname(host))
	}
	for _, origin := range c.AllowedOrigins {
		o.allowed = append(o.allowed, strings.TrimSuffix(strings.ToLower(origin), "/"))
	}
	if public, err := url.Parse(c.PublicURL); err == nil && public.Host != "" {
		o.hosts = append(o.hosts, hostname(public.Host))
		o.allowed = append(o.allowed, strings.ToLower(public.Scheme+"://"+public.Host))
	}
	return o
}

// checkHost lets pass requests whose Host is the loopback, the public URL's
// host or a configured one. Ports don't matter: rebinding is about names.
func (o origins) checkHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := hostname(r.Host); !loopback(host) && !slices.Contains(o.hosts, host) {
			tools.WriteError(w, r, store.Errorf(store.CodeForbidden, "",
				"the Host header %q is not one of this server; if it should be, set TELLHOOK_PUBLIC_URL or add it to TELLHOOK_ALLOWED_HOSTS", store.Clip(r.Host, 100)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkOrigin lets pass requests that come from no page, from a page of this
// server, or from an allowed origin, which gets the CORS headers it needs.
func (o origins) checkOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := strings.ToLower(r.Header.Get("Origin"))
		w.Header().Add("Vary", "Origin")
		switch {
		case origin == "" && len(r.Header.Values("Origin")) == 0:
		case slices.Contains(o.allowed, origin):
			if allowCORS(w, r) {
				return
			}
		case !sameOrigin(origin, r):
			tools.WriteError(w, r, store.Errorf(store.CodeForbidden, "",
				"the Origin %q may not call this server; if it should, add it to TELLHOOK_ALLOWED_ORIGINS", store.Clip(origin, 100)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowCORS answers a preflight, which carries no key, and marks the answers of
// other requests as readable. No credentials of the browser are ever allowed.
func allowCORS(w http.ResponseWriter, r *http.Request) (done bool) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	h.Set("Access-Control-Expose-Headers", "Mcp-Session-Id, X-Request-Id, Location, Retry-After, WWW-Authenticate")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept, If-Match, Idempotency-Key, Tellhook-Team, "+
		"Mcp-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, Last-Event-ID, X-Request-Id")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// sameOrigin compares with the Host that checkHost let pass. The scheme is
// unknown behind a proxy that ends TLS, so the port tells http from https.
func sameOrigin(origin string, r *http.Request) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	if strings.EqualFold(u.Host, r.Host) {
		return true
	}
	host := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(r.Host), ":443"), ":80")
	return u.Host == host
}

func hostname(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// clientAddr is who is at the other end: the connection's peer, or behind
// trusted proxies the last address of X-Forwarded-For that is none of them.
func clientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return addr
		}
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return addr
		}
		addr = next.Unmap()
	}
	return addr
}
