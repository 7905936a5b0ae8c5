package main

import (
	"regexp"
	"strings"
)

// environment holds variables by name.
type environment map[string]string

// newEnvironment reads the form of os.Environ.
func newEnvironment(environ []string) environment {
	env := make(environment, len(environ))
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return env
}

// What Kubernetes injects for each Service (its "Docker-compatible" and
// {SVCNAME}_SERVICE_HOST variables), here for one named tellhook, or
// tellhook-something.
var (
	kubernetesName  = regexp.MustCompile(`^TELLHOOK(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	kubernetesPort  = regexp.MustCompile(`^TELLHOOK(_[A-Z0-9_]+)?_PORT$`)
	kubernetesValue = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// ignored tells whether an unknown variable is none of an operator's making.
func ignored(name, value string) bool {
	if kubernetesName.MatchString(name) || kubernetesPort.MatchString(name) && kubernetesValue.MatchString(value) {
		return true
	}
	return name == "TELLHOOK_TEST_DATABASE_URL" // the cluster of the project's own tests
}
