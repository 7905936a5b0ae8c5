// Package server is the HTTP and stdio shell around the operation table:
// authentication, Host and Origin checks, limits, MCP transports, REST, health.
package server

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

// Config of Handler. Tools is required.
type Config struct {
	Tools *tools.Tools
	// Ready answers nil while the service can work, for /readyz: Store.Ping.
	// Nil: always.
	Ready func(context.Context) error

	// PublicURL is where clients reach the handler's root, for links and OAuth
	// metadata; its host is an allowed host, its origin an allowed origin.
	// Empty: what the request's Host header says.
	PublicURL string
	// BasePath is the path below which a host program mounts the handler in its
	// own mux, like "/webhooks". Empty: the root.
	BasePath string

	ProductName    string // default Tellhook
	AllowedHosts   []string
	AllowedOrigins []string
	TrustedProxies []netip.Prefix // whose X-Forwarded-For counts
	MaxBodyBytes   int64          // of one MCP message; default 1 MiB. REST has its own limit

	// Authenticate answers who makes a request; its errors are *store.Error.
	// Nil: the API key in the Authorization header. It is asked again, ten times
	// a second, while a stream is open, so it must be cheap and safe to call on
	// a request that is being served.
	Authenticate func(*http.Request) (*tools.Caller, error)

	Log zerolog.Logger
}

const defaultMaxBody = 1 << 20

// Server is the HTTP face of Tellhook, an http.Handler.
type Server struct {
	config  Config
	log     zerolog.Logger
	origins origins
	logins  *throttle
	mcp     *mcpFront
	routes  http.Handler

	streams context.Context // ends when the open streams must
	closing context.CancelFunc
}

// Handler makes the server. It starts nothing; call Close where streams may
// still be open when it goes out of use.
func Handler(c Config) (*Server, error) {
	c.BasePath = "/" + strings.Trim(c.BasePath, "/")
	if c.BasePath == "/" {
		c.BasePath = ""
	}
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return nil, store.Errorf(store.CodeInvalid, "public_url",
			"public_url: %q is not an http or https URL; write for example https://hooks.example.com", c.PublicURL)
	}
	if c.ProductName == "" {
		c.ProductName = "Tellhook"
	}
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = defaultMaxBody
	}
	s := &Server{config: c, log: c.Log, origins: newOrigins(&c), logins: newThrottle()}
	if s.config.Authenticate == nil {
		s.config.Authenticate = s.authenticateKey
	}
	s.streams, s.closing = context.WithCancel(context.Background())
	s.mcp = newMCPFront(s)
	s.routes = s.route()
	return s, nil
}

// Close ends the open streams. Requests that come later are still served, but
// no stream opens any more.
func (s *Server) Close() { s.closing() }

func (s *Server) route() http.Handler {
	mux := http.NewServeMux()
	probes := Probes(s.config.Ready, s.log)
	mux.Handle("/healthz", probes)
	mux.Handle("/readyz", probes)
	mux.HandleFunc("/.well-known/oauth-protected-resource", s.resourceMetadata)
	mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", s.resourceMetadata)
	mux.Handle("/mcp", s.guard(s.forMCP(http.HandlerFunc(s.mcp.streamable))))
	mux.Handle("/sse", s.guard(s.forMCP(http.HandlerFunc(s.mcp.openSSE))))
	mux.Handle("/message", s.guard(s.forMCP(http.HandlerFunc(s.mcp.message))))
	rest := timed(s.config.Tools.REST())
	mux.Handle("/api/v1/", s.guard(s.authenticated(rest)))
	mux.Handle("/api/v1/openapi.json", s.guard(rest))
	mux.Handle("/{$}", s.guard(http.HandlerFunc(s.index)))
	mux.Handle("/", s.guard(http.HandlerFunc(s.notFound)))
	return s.observed(s.mounted(mux))
}

// guard stands in front of everything but health and metadata, before any key
// is looked at. Probes reach health by address, under any Host.
func (s *Server) guard(next http.Handler) http.Handler {
	return s.origins.checkHost(s.origins.checkOrigin(next))
}

// mounted takes the base path off.
func (s *Server) mounted(next http.Handler) http.Handler {
	if s.config.BasePath == "" {
		return next
	}
	return http.StripPrefix(s.config.BasePath, next)
}

// timed bounds how long a request's body may take on the wire; the recorder
// bounds the answer.
func timed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Deadlines are not there in every host program's ResponseWriter; the
		// operation's own one still holds then.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(restDeadline))
		next.ServeHTTP(w, r)
	})
}

// restDeadline bounds a REST call; operations have shorter ones.
const restDeadline = time.Minute

// base is the URL of the handler's root as the client sees it. The Host header
// has passed checkHost.
func (s *Server) base(r *http.Request) string {
	if s.config.PublicURL != "" {
		return s.config.PublicURL
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host + s.config.BasePath
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }
