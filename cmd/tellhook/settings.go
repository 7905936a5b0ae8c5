package main

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tellhook/tellhook/dispatcher"
	"github.com/tellhook/tellhook/store"
)

// Config is the configuration in force, read from the settings.
type Config struct {
	Database  database
	MaxConns  int
	MasterKey string // empty: the file beside the embedded database

	Addr, OpsAddr  string
	PublicURL      string // empty: from the address
	AllowedOrigins []string
	AllowedHosts   []string
	TrustedProxies []netip.Prefix
	ProductName    string

	SignatureHeader    string
	Schedule           dispatcher.Schedule
	Jitter             float64
	Timeout            time.Duration
	Concurrency        int
	WebhookConcurrency int
	AllowHTTP          bool
	AllowNetworks      []netip.Prefix
	UserAgent          string

	MaxEventBytes   int
	Retention       time.Duration
	BuiltinTypes    []string // empty: all
	DeriveFirstScan bool

	URL, APIKey string

	LogLevel, LogFormat string

	ignoredOTLP bool // an OTLP endpoint is set, which platforms do for every process

	settings []*setting
}

// derivesFirstScan tells whether a scan may also publish a first_scan: it is
// asked for, and the type exists.
func (c *Config) derivesFirstScan() bool {
	return c.DeriveFirstScan && (len(c.BuiltinTypes) == 0 || slices.Contains(c.BuiltinTypes, store.TypeFirstScan))
}

// egress is where deliveries may go.
func (c *Config) egress() dispatcher.Egress {
	return dispatcher.Egress{AllowHTTP: c.AllowHTTP, AllowNetworks: c.AllowNetworks}
}

// Groups of settings, in the order of the help.
const (
	groupDatabase = "Database"
	groupServer   = "Server"
	groupDelivery = "Delivery"
	groupEvents   = "Event"
	groupClient   = "Client"
	groupLog      = "Log"
)

// setting is one variable and the flag of the same name.
type setting struct {
	name     string // of the variable: TELLHOOK_ADDR, whose flag is --addr
	group    string
	fallback string // the default, as text
	holder   string // stands for the value in the help
	help     string
	secret   bool // never quoted; may also be named by a file
	boolean  bool
	aliases  []string
	// parse stores the value. Its error says what is expected, without the value.
	parse func(text string) error
	// shown is what may be shown of a secret; nil: that there is one.
	shown func(text string) string

	flag, flagFile *string // from the command line; nil: not given
	text           string  // the value in force; empty: none
	source         string  // where it came from
}

// notAvailable is the help of a setting whose feature a later version has.
const notAvailable = "Not available in this version."

// planned tells of such a setting, which is refused rather than ignored.
func (s *setting) planned() bool { return s.help == notAvailable }

// newConfig is the configuration before anything was read.
func newConfig(env environment) *Config {
	c := &Config{}
	c.settings = []*setting{
		{
			name: databaseURL, group: groupDatabase, holder: "URL", secret: true, shown: redactURL,
			fallback: defaultDatabase(env), parse: into(&c.Database, parseDatabase),
			help: "postgres://… selects PostgreSQL, sqlite:PATH the embedded database.",
		},
		{
			name: "TELLHOOK_DATABASE_MAX_CONNS", group: groupDatabase, holder: "N", fallback: "20", parse: into(&c.MaxConns, integer(2, 10_000)),
			help: "Size of the PostgreSQL connection pool.",
		},
		{
			name: masterKey, group: groupDatabase, holder: "KEY", secret: true, parse: into(&c.MasterKey, masterKeys),
			help: "Seals secrets at rest: 32 random bytes in base64, from tellhook keygen; several, comma-separated, newest first. The embedded database makes its own, in a file beside it.",
		},
		{
			name: "TELLHOOK_ADDR", group: groupServer, holder: "HOST:PORT", fallback: "127.0.0.1:8080", parse: into(&c.Addr, address),
			help: "Address to listen on; :0 picks a port.",
		},
		{
			name: "TELLHOOK_OPS_ADDR", group: groupServer, holder: "HOST:PORT", parse: into(&c.OpsAddr, address),
			help: "Another address with /healthz and /readyz alone, on serve and dispatch.",
		},
		{
			name: "TELLHOOK_PUBLIC_URL", group: groupServer, holder: "URL", parse: into(&c.PublicURL, webURL),
			help: "Where clients reach this service: for links and OAuth metadata. From the address where it is not given.",
		},
		{
			name: "TELLHOOK_ALLOWED_ORIGINS", group: groupServer, holder: "ORIGIN,…", parse: into(&c.AllowedOrigins, list(origin)),
			help: "Browser origins that may call, besides the service's own.",
		},
		{
			name: "TELLHOOK_ALLOWED_HOSTS", group: groupServer, holder: "HOST,…", parse: into(&c.AllowedHosts, list(hostName)),
			help: "Host headers that are served, besides loopback and the public URL's.",
		},
		{
			name: "TELLHOOK_TRUSTED_PROXIES", group: groupServer, holder: "CIDR,…", parse: into(&c.TrustedProxies, list(network)),
			help: "Networks of proxies whose X-Forwarded-For names the client.",
		},
		{
			name: "TELLHOOK_FRAME_ANCESTORS", group: groupServer, holder: "ORIGIN,…", fallback: "none", parse: unavailable("none"),
			help: notAvailable,
		},
		{
			name: "TELLHOOK_PRODUCT_NAME", group: groupServer, holder: "NAME", fallback: "Tellhook", parse: into(&c.ProductName, line(60)),
			help: "Name of the product where people and models see one.",
		},
		{
			name: "TELLHOOK_SIGNATURE_HEADER", group: groupDelivery, holder: "NAME", fallback: dispatcher.DefaultSignatureHeader, parse: into(&c.SignatureHeader, signatureHeader),
			help: "Name of the header with the plain hex signature.",
		},
		{
			name: "TELLHOOK_RETRY_SCHEDULE", group: groupDelivery, holder: "WAITS", fallback: dispatcher.DefaultSchedule, parse: into(&c.Schedule, dispatcher.ParseSchedule),
			help: "Waits before the first, second, … retry, or a preset: seed (1m,5m,30m) or days (5s,5m,30m,2h,5h,10h,10h).",
		},
		{
			name: "TELLHOOK_RETRY_JITTER", group: groupDelivery, holder: "PART", fallback: "0.1", parse: into(&c.Jitter, fraction),
			help: "Each wait is stretched by a random part of itself, up to this.",
		},
		{
			name: "TELLHOOK_TIMEOUT", group: groupDelivery, holder: "TIME", fallback: "10s", parse: into(&c.Timeout, duration(100*time.Millisecond, 5*time.Minute)),
			help: "For a whole delivery request, response body included.",
		},
		{
			name: "TELLHOOK_CONCURRENCY", group: groupDelivery, holder: "N", fallback: "256", parse: into(&c.Concurrency, integer(1, 10_000)),
			help: "Delivery requests in flight in this process.",
		},
		{
			name: "TELLHOOK_WEBHOOK_CONCURRENCY", group: groupDelivery, holder: "N", fallback: "32", parse: into(&c.WebhookConcurrency, integer(1, 10_000)),
			help: "Delivery requests in flight for one webhook in this process.",
		},
		{
			name: "TELLHOOK_DRAIN_RATE", group: groupDelivery, holder: "N/s", fallback: "50/s", parse: unavailable("50/s"),
			help: notAvailable,
		},
		{
			name: "TELLHOOK_ALLOW_HTTP", group: groupDelivery, fallback: "false", boolean: true, parse: into(&c.AllowHTTP, boolean),
			help: "Allow webhooks with http:// URLs.",
		},
		{
			name: "TELLHOOK_ALLOW_NETWORKS", group: groupDelivery, holder: "CIDR,…", parse: into(&c.AllowNetworks, list(network)),
			help: "Networks that deliveries may go to although they are private, such as 10.1.0.0/16.",
		},
		{
			name: "TELLHOOK_EGRESS_PROXY", group: groupDelivery, holder: "URL", parse: unavailable(""),
			help: notAvailable,
		},
		{
			name: "TELLHOOK_USER_AGENT", group: groupDelivery, holder: "TEXT", fallback: "Tellhook/" + buildInfo().Version, parse: into(&c.UserAgent, line(200)),
			help: "User-Agent of deliveries.",
		},
		{
			name: "TELLHOOK_MAX_EVENT_BYTES", group: groupEvents, holder: "N", fallback: "262144", parse: into(&c.MaxEventBytes, integer(1024, 16<<20)),
			help: "Larger events are refused.",
		},
		{
			name: "TELLHOOK_RETENTION", group: groupEvents, holder: "TIME", fallback: "30d", parse: into(&c.Retention, duration(time.Minute, 100*365*day)),
			help: "Older events, deliveries and attempts are pruned.",
		},
		{
			name: "TELLHOOK_BUILTIN_TYPES", group: groupEvents, holder: "all|TYPE,…", fallback: "all", parse: into(&c.BuiltinTypes, builtinTypes),
			help: "Built-in event types that exist.",
		},
		{
			name: "TELLHOOK_DERIVE_FIRST_SCAN", group: groupEvents, fallback: "true", boolean: true, parse: into(&c.DeriveFirstScan, boolean),
			help: "Publish a first_scan with the first scan of each qr_code_id.",
		},
		{
			name: "TELLHOOK_EVENTS_ERRORS", group: groupEvents, holder: "sketch|sep", fallback: "sketch", parse: unavailable("sketch"),
			help: notAvailable,
		},
		{
			name: "TELLHOOK_URL", group: groupClient, holder: "URL", aliases: []string{"server"}, parse: into(&c.URL, webURL),
			help: "Tellhook server that stdio and send speak to, instead of the database.",
		},
		{
			name: "TELLHOOK_API_KEY", group: groupClient, holder: "KEY", secret: true, parse: into(&c.APIKey, apiKey),
			help: "API key that stdio and send act with.",
		},
		{
			name: "TELLHOOK_LOG_LEVEL", group: groupLog, holder: "LEVEL", fallback: "info", parse: into(&c.LogLevel, oneOf("trace", "debug", "info", "warn", "error")),
			help: "Least level that is logged: trace, debug, info, warn or error.",
		},
		{
			name: "TELLHOOK_LOG_FORMAT", group: groupLog, holder: "json|console", parse: into(&c.LogFormat, oneOf("json", "console")),
			help: "console on a terminal, else json.",
		},
	}
	return c
}
