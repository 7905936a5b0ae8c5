package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestHTTPS delivers without --dev: a certificate of a known authority, and one
// of an unknown authority.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	authority, known := certificate(t)
	_, unknown := certificate(t)
	file := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(file, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	d := deploy(t, sqlite, "SSL_CERT_FILE="+file, "TELLHOOK_ALLOW_NETWORKS=127.0.0.0/8", "TELLHOOK_RETRY_SCHEDULE=1s")
	c := d.rest(d.serve())

	good, bad := tlsReceiver(t, known), tlsReceiver(t, unknown)
	w := c.webhook(good.URL+"/hook", "scan")
	c.webhook(bad.URL+"/hook", "file_download")
	e := c.scan(1)
	checkSigned(t, good.wait(t, 1, 10*time.Second)[0], str(w, "secret"), "X-Webhook-Signature")
	if got := c.delivery(e, "succeeded", 5*time.Second); attemptsOf(got)[0]["phases"] == nil {
		t.Errorf("delivery: %v", got)
	}
	lost := c.publish("file_download", sample("file_download"))
	if got := c.delivery(lost, "failed", 15*time.Second); got["last_error_kind"] != "tls" || len(bad.all()) != 0 {
		t.Errorf("to a receiver with an unknown authority: %v", got)
	}
}

func tlsReceiver(t *testing.T, cert tls.Certificate) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(r.handler(nil))
	r.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	r.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes are meant to fail here
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

// certificate makes an authority (PEM) and its certificate for 127.0.0.1.
func certificate(t *testing.T) (authority []byte, cert tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "receiver"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: key}
}
