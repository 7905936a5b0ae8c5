//go:build receivers

package e2e

import (
	"os/exec"
	"testing"
)

// TestReceivers runs the examples that need more than Go.
func TestReceivers(t *testing.T) {
	for name, command := range map[string]func(port string) []string{
		"node":   func(string) []string { return []string{"node", examples + "/node/receiver.mjs"} },
		"python": func(string) []string { return []string{"python3", examples + "/python/receiver.py"} },
		"php": func(port string) []string {
			return []string{"php", "-S", "127.0.0.1:" + port, examples + "/php/receiver.php"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(command("")[0]); err != nil {
				t.Fatalf("%v; this check needs Node, PHP and Python: .ci/run installs them", err)
			}
			for _, header := range []string{"X-Webhook-Signature", "X-NearNode-Signature"} {
				t.Run(header, func(t *testing.T) {
					t.Parallel()
					checkExample(t, header, command)
				})
			}
		})
	}
}
