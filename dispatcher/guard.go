package dispatcher

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// Egress says where deliveries may go. The zero value allows https to public
// addresses.
type Egress struct {
	AllowHTTP     bool           // also http:// URLs
	AllowNetworks []netip.Prefix // allowed although private, such as 127.0.0.0/8
}

// blockedError is a destination that the guard refused.
type blockedError struct {
	destination string
	reason      string
}

func (e *blockedError) Error() string {
	return fmt.Sprintf("%s is not an allowed destination: %s", e.destination, e.reason)
}

// metadata are addresses at which clouds answer with their machines'
// credentials, some of them in public ranges. A wide entry of AllowNetworks
// does not open them; only one that names the address alone does.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // AWS, Google, Azure, …
	netip.MustParseAddr("169.254.170.2"),   // AWS ECS
	netip.MustParseAddr("169.254.170.23"),  // AWS EKS
	netip.MustParseAddr("168.63.129.16"),   // Azure's wire server
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("192.0.0.192"),     // Oracle
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd00:ec2::23"),    // AWS EKS
	netip.MustParseAddr("fd20:ce::254"),    // Google
}

// embeddings are IPv6 prefixes whose addresses lead to an IPv4 one that is
// written inside, where no list of IPv4 prefixes would see it. The library
// refuses most of them as not global unicast; here they have their reason.
var embeddings = []netip.Prefix{
	netip.MustParsePrefix("::ffff:0:0/96"),   // IPv4-mapped, RFC 4291 section 2.5.5.2
	netip.MustParsePrefix("::/96"),           // IPv4-compatible, RFC 4291 section 2.5.5.1
	netip.MustParsePrefix("::ffff:0:0:0/96"), // IPv4-translated, RFC 7915
	netip.MustParsePrefix("64:ff9b::/96"),    // NAT64, RFC 6052
	netip.MustParsePrefix("64:ff9b:1::/48"),  // local NAT64, RFC 8215
	netip.MustParsePrefix("2001::/32"),       // Teredo, RFC 4380
	netip.MustParsePrefix("2002::/16"),       // 6to4, RFC 3056
}

// special is the IANA's registries of special addresses, kept by the library.
// It is safe for concurrent use.
var special = ssrf.New(ssrf.WithAnyPort())

// control is net.Dialer.ControlContext: it judges the address that is about to
// be connected to, after the name was resolved, so no answer of the DNS gets
// around it.
func (e Egress) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return &blockedError{address, "network " + network + " is not TCP"}
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return &blockedError{address, "it is not an address and a port"}
	}
	return e.judge(to.Addr())
}

// judge answers a *blockedError for an address that must not be connected to.
func (e Egress) judge(ip netip.Addr) error {
	if ip.Zone() != "" {
		return &blockedError{ip.String(), "it belongs to one link only"}
	}
	plain := ip.Unmap()
	secretive := isMetadata(plain)
	for _, allowed := range e.AllowNetworks {
		if allowed.Contains(plain) && (!secretive || allowed.IsSingleIP()) {
			return nil
		}
	}
	switch {
	case secretive:
		return &blockedError{ip.String(), "it is a cloud's metadata service"}
	case embedsIPv4(ip):
		return &blockedError{ip.String(), "it wraps an IPv4 address; use that address or a name"}
	case special.SafeAddr(ip) != nil:
		return &blockedError{ip.String(), "it is private or reserved, and deliveries go to public addresses"}
	}
	return nil
}

// allowsLoopback tells whether a local receiver may be named.
func (e Egress) allowsLoopback() bool {
	return e.judge(netip.AddrFrom4([4]byte{127, 0, 0, 1})) == nil || e.judge(netip.IPv6Loopback()) == nil
}

func isMetadata(ip netip.Addr) bool {
	for _, m := range metadata {
		if ip == m {
			return true
		}
	}
	return false
}

// embedsIPv4 also finds ISATAP, which is told by the interface identifier
// alone: 0000:5efe or 0200:5efe before the IPv4 address (RFC 5214 section 6.1).
func embedsIPv4(ip netip.Addr) bool {
	if ip.Is4() {
		return false
	}
	for _, p := range embeddings {
		if p.Contains(ip) || (ip.Is4In6() && p == embeddings[0]) { // Contains keeps mapped addresses out
			return true
		}
	}
	b := ip.As16()
	return b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}
