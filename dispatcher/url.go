package dispatcher

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"github.com/tellhook/tellhook/store"
)

// MaxURLBytes is the length of the longest URL.
const MaxURLBytes = 2048

// CanonicalURL judges a webhook's URL and answers the form in which it is
// stored: lower-case scheme, host in ASCII (punycode) without trailing dot, no
// default port, no userinfo, no fragment. Path and query stay as they came, but
// for bytes outside of ASCII and, in the path, those that no URL may hold, which
// are percent-encoded. An IP address must be
// one that deliveries may go to; a name is judged when it is dialled. The error
// is CodeInvalid with the field "url".
func (e Egress) CanonicalURL(raw string) (string, error) {
	if raw == "" {
		return "", invalidURL("it is empty")
	}
	if len(raw) > MaxURLBytes {
		return "", invalidURL("it has %d bytes, expected at most %d", len(raw), MaxURLBytes)
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", invalidURL("it holds a space or a control character; write a space as %%20")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", invalidURL("%q cannot be read as a URL", store.Clip(raw, 100))
	}
	if err := e.checkParts(u); err != nil {
		return "", err
	}
	host, err := e.canonicalHost(u.Hostname())
	if err != nil {
		return "", err
	}
	port, err := canonicalPort(u)
	if err != nil {
		return "", err
	}
	u.Host = host + port
	u.RawPath = escape(u.RawPath, "\"<>\\^`{|}") // as it is, net/url would write all of the path anew, %2F as a slash
	u.RawQuery = escape(u.RawQuery, "")
	u.Fragment, u.RawFragment = "", ""
	canonical := u.String()
	if len(canonical) > MaxURLBytes {
		return "", invalidURL("it has %d bytes once encoded, expected at most %d", len(canonical), MaxURLBytes)
	}
	return canonical, nil
}

func (e Egress) checkParts(u *url.URL) error {
	switch {
	case u.Scheme == "http" && !e.AllowHTTP:
		return invalidURL("it begins with http://, and deliveries need https (an operator can allow http with TELLHOOK_ALLOW_HTTP)")
	case u.Scheme != "https" && u.Scheme != "http":
		return invalidURL("deliveries need https, and %q does not begin with https://", store.Clip(u.Redacted(), 60))
	case u.User != nil:
		return invalidURL("it holds a user name or password before an @; send credentials as a custom header instead")
	case u.Hostname() == "":
		return invalidURL("it names no host")
	case u.Fragment != "":
		return invalidURL("it holds a fragment (#…), which no receiver would ever see; remove it")
	}
	return nil
}

// names is idna.Lookup, but for names such as qa--site.example.com, which exist
// and which browsers accept (WHATWG URL, "domain to ASCII": CheckHyphens false).
var names = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckHyphens(false))

func (e Egress) canonicalHost(host string) (string, error) {
	if strings.Contains(host, ":") { // from between brackets
		ip, err := netip.ParseAddr(host)
		if err != nil || ip.Zone() != "" {
			return "", invalidURL("its host [%s] is not an IPv6 address without a zone", store.Clip(host, 60))
		}
		return "[" + ip.String() + "]", e.checkLiteral(ip)
	}
	name, err := names.ToASCII(host)
	name = strings.TrimSuffix(name, ".") // after the mapping, which also makes dots
	_, unstable := names.ToASCII(name)
	if err != nil || unstable != nil || !validName(name) { // what is not its own form would be refused at each send
		return "", invalidURL("its host %q is not a valid name", store.Clip(host, 60))
	}
	if numeric(name) {
		ip, err := netip.ParseAddr(name)
		if err != nil {
			return "", invalidURL("its host %q looks like an address but is not four decimal numbers, such as 203.0.114.7", store.Clip(host, 60))
		}
		return name, e.checkLiteral(ip)
	}
	if (name == "localhost" || strings.HasSuffix(name, ".localhost")) && !e.allowsLoopback() {
		return "", invalidURL("its host %s is this machine; deliveries go to public addresses (an operator can allow networks with TELLHOOK_ALLOW_NETWORKS)", name)
	}
	return name, nil
}

func (e Egress) checkLiteral(ip netip.Addr) error {
	if err := e.judge(ip); err != nil {
		return invalidURL("its host %w (an operator can allow networks with TELLHOOK_ALLOW_NETWORKS)", err)
	}
	return nil
}

// validName holds a name to the lengths of RFC 1035 section 2.3.4 and its labels
// to letters or digits at either end.
func validName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return len(name) <= 253
}

// numeric tells whether a resolver may take the name for an IPv4 address, as
// inet_aton does with 127.1, 0177.0.0.1, 0x7f000001 and 2130706433: its last
// label is a number (WHATWG URL, "ends in a number").
func numeric(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

func canonicalPort(u *url.URL) (string, error) {
	text := u.Port()
	if text == "" {
		return "", nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return "", invalidURL("its port %s is not between 1 and 65535", store.Clip(text, 20))
	}
	if (u.Scheme == "https" && port == 443) || (u.Scheme == "http" && port == 80) {
		return "", nil
	}
	return ":" + strconv.FormatUint(port, 10), nil
}

// escape percent-encodes what is not ASCII, and the bytes of also.
func escape(s, also string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] < 0x80 && strings.IndexByte(also, s[i]) < 0 {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

func invalidURL(format string, args ...any) error {
	message := fmt.Errorf(format, args...).Error()
	return store.Errorf(store.CodeInvalid, "url", "url: %s; expected such as https://example.com/webhooks", message)
}
