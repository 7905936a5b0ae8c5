package tools

import (
	"net/http"

	"github.com/tellhook/tellhook/store"
)

// WriteMethodNotAllowed answers a method that the path does not have; allow is
// the Allow header.
func WriteMethodNotAllowed(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	writeProblem(w, r, store.Errorf(store.CodeInvalid, "", "%s is not possible here; allowed: %s", r.Method, allow), http.StatusMethodNotAllowed)
}
