package dispatcher

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tellhook/tellhook/store"
)

func TestGuardRefuses(t *testing.T) {
	t.Parallel()
	for name, addresses := range map[string][]string{
		"loopback":        {"127.0.0.1", "127.255.255.254", "::1"},
		"unspecified":     {"0.0.0.0", "0.1.2.3", "::"},
		"private":         {"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1"},
		"carrier":         {"100.64.0.1", "100.127.255.255"},
		"link-local":      {"169.254.1.1", "fe80::1", "fec0::1"},
		"metadata":        {"169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"},
		"reserved":        {"192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1", "255.255.255.255", "2001:db8::1", "100::1"},
		"multicast":       {"224.0.0.1", "239.255.255.250", "ff02::1"},
		"IPv4-mapped":     {"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:93.184.216.34"},
		"IPv4-compatible": {"::127.0.0.1", "::93.184.216.34"},
		"IPv4-translated": {"::ffff:0:127.0.0.1"},
		"NAT64":           {"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1"},
		"6to4":            {"2002:7f00:1::", "2002:a00:1::1"},
		"Teredo":          {"2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"},
		"ISATAP":          {"2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:7f00:1", "fe80::5efe:10.0.0.1"},
	} {
		for _, address := range addresses {
			ip := netip.MustParseAddr(address)
			err := Egress{}.judge(ip)
			var blocked *blockedError
			if !errors.As(err, &blocked) || !strings.Contains(err.Error(), ip.String()) {
				t.Errorf("%s: %s: %v", name, address, err)
			}
		}
	}
	for _, address := range []string{"93.184.216.34", "8.8.8.8", "2606:4700::1111", "2a00:1450:4001::200e"} {
		if err := (Egress{}).judge(netip.MustParseAddr(address)); err != nil {
			t.Errorf("a public address: %v", err)
		}
	}
}

func TestGuardAllowsNetworks(t *testing.T) {
	t.Parallel()
	e := Egress{AllowNetworks: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("168.63.129.16/32"),
	}}
	for address, ok := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "169.254.1.1": true, "fd00::1": true, "168.63.129.16": true,
		"192.168.0.1": false, "::ffff:192.168.0.1": false, "127.0.0.1": false, "fd00::1%eth0": false,
		"169.254.169.254": false, "::ffff:169.254.169.254": false, "fd00:ec2::254": false, "64:ff9b::a00:1": false,
	} {
		if err := e.judge(netip.MustParseAddr(address)); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, network := range []string{"udp4", "unix", "tcp", "ip4"} {
		if e.control(t.Context(), network, "10.0.0.1:80", nil) == nil {
			t.Errorf("network %s passes", network)
		}
	}
	if e.control(t.Context(), "tcp4", "somewhere", nil) == nil {
		t.Error("an address that is none passes")
	}
}

// resolver answers every name with the addresses that answers gives, over a
// DNS server on loopback.
func resolver(t *testing.T, answers func() []netip.Addr) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0") //nolint:noctx // closed below
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
			for _, ip := range answers() {
				h := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}
				switch {
				case ip.Is4() && q.Type == dnsmessage.TypeA:
					reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: ip.As4()}})
				case ip.Is6() && q.Type == dnsmessage.TypeAAAA:
					reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
				}
			}
			if packed, err := reply.Pack(); err == nil {
				_, _ = server.WriteTo(packed, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { //nolint:forbidigo // the field of a resolver, not net.Dial
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// Names are judged by what they resolve to, at every dial, by the real dialer.
func TestGuardAtDial(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	url := "http://receiver.example:" + port + "/"

	deliver := func(e Egress, addresses ...string) store.Attempt {
		d := sender(t, nil)
		d.o.Egress = e
		d.transport = newTransport(e, testTimeout, 0, nil, resolver(t, func() (ips []netip.Addr) {
			for _, a := range addresses {
				ips = append(ips, netip.MustParseAddr(a))
			}
			return ips
		}))
		defer d.transport.CloseIdleConnections()
		return deliverTo(t, d, claimFor(url)).Attempt
	}
	closed := Egress{AllowHTTP: true}
	for _, addresses := range [][]string{
		{"127.0.0.1"},
		{"::1"},
		{"0.0.0.0"},
		{"10.0.0.1"},
		{"192.168.1.1", "10.0.0.1"},
		{"169.254.169.254"},
		{"168.63.129.16"},
		{"fd00:ec2::254"},
		{"::ffff:127.0.0.1"},
		{"64:ff9b::7f00:1"},
		{"64:ff9b:1::7f00:1"},
		{"2002:7f00:1::"},
		{"2001:0:4136:e378:8000:63bf:3fff:fdd2"},
		{"2606:4700::5efe:7f00:1"},
		{"127.0.0.1", "::1"},
	} {
		if a := deliver(closed, addresses...); a.ErrorKind != store.ErrorBlocked || !strings.Contains(a.Error, "not an allowed destination") || a.RemoteIP != "" {
			t.Errorf("%v: %s, %s", addresses, a.ErrorKind, a.Error)
		}
	}
	if n := requests.Load(); n != 0 {
		t.Fatalf("%d requests got through", n)
	}

	// Of several answers the allowed one is used, mapped or plain, and no other.
	if a := deliver(local, "10.0.0.1", "127.0.0.1"); a.ErrorKind != "" || a.RemoteIP != "127.0.0.1" {
		t.Errorf("a bad and a good address: %s, %s", a.ErrorKind, a.Error)
	}
	if a := deliver(local, "::ffff:127.0.0.1"); a.ErrorKind != "" || a.RemoteIP != "127.0.0.1" {
		t.Errorf("an allowed address, mapped: %s, %s", a.ErrorKind, a.Error)
	}
	if a := deliver(closed); a.ErrorKind != store.ErrorDNS || !strings.Contains(a.Error, "receiver.example") {
		t.Errorf("no address: %s, %s", a.ErrorKind, a.Error)
	}
	// A refused connection to an allowed address is not called blocked.
	server.Close()
	if a := deliver(local, "10.0.0.1", "127.0.0.1"); a.ErrorKind != store.ErrorConnect {
		t.Errorf("a bad address and one where nobody listens: %s, %s", a.ErrorKind, a.Error)
	}
}

// DNS rebinding: the first answer is fine, the second leads inside.
func TestGuardJudgesEveryDial(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	var rebound atomic.Bool
	d := sender(t, nil)
	d.transport = newTransport(local, testTimeout, 0, nil, resolver(t, func() []netip.Addr {
		if rebound.Load() {
			return []netip.Addr{netip.MustParseAddr("10.0.0.1")}
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	}))
	c := claimFor("http://receiver.example:" + port)
	if a := deliverTo(t, d, c).Attempt; a.ErrorKind != "" {
		t.Fatalf("%s, %s", a.ErrorKind, a.Error)
	}
	rebound.Store(true)
	if a := deliverTo(t, d, c).Attempt; a.ErrorKind != store.ErrorBlocked {
		t.Fatalf("%s, %s", a.ErrorKind, a.Error)
	}
}

func TestTransportIgnoresProxiesAndRedirects(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/again", http.StatusFound)
	}))
	defer server.Close()
	transport := newTransport(local, testTimeout, 1, nil, nil)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		t.Errorf("status %d", resp.StatusCode)
	}
	if transport.Proxy != nil { // loopback is never proxied, so the request alone does not tell
		t.Error("a proxy is set")
	}
}
