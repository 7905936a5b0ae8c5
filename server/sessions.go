package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	mcpserver "github.com/mark3labs/mcp-go/server"
	"github.com/tellhook/tellhook/store"
)

// Limits of MCP sessions. An abandoned initialize costs about 12 KB, so the
// total stays below 50 MB.
const (
	sessionIdle    = 30 * time.Minute
	sessionsPerKey = 64
	sessionsTotal  = 4096
)

// sessions binds the ids of MCP sessions, Streamable HTTP's before 2026-07-28
// and SSE's, to the key that opened them. The library checks an id's form only,
// so this is what makes an ended, idle or foreign id useless.
type sessions struct {
	idle          time.Duration
	perKey, total int
	// forget drops what the library holds of a session. It is called without
	// the lock held.
	forget func(id string)

	mu   sync.Mutex
	byID map[string]*session
}

type session struct {
	id       string
	owner    string          // of the key: see principal
	ctx      context.Context // ends with the session; streams hang on it
	end      context.CancelFunc
	streams  int
	lastUsed time.Time
}

func newSessions() *sessions {
	return &sessions{
		idle: sessionIdle, perKey: sessionsPerKey, total: sessionsTotal,
		forget: func(string) {},
		byID:   map[string]*session{},
	}
}

// open makes a session. Idle ones end first; past a limit the one that was
// unused the longest gives way, of the same key or of all.
func (s *sessions) open(owner string) string {
	now := time.Now()
	ctx, end := context.WithCancel(context.Background())
	made := &session{id: "mcp-" + uuid.NewString(), owner: owner, ctx: ctx, end: end, lastUsed: now}

	s.mu.Lock()
	var ended []*session
	var mine int
	for _, other := range s.byID {
		switch {
		case s.expired(other, now):
			ended = append(ended, s.remove(other))
		case other.owner == owner:
			mine++
		}
	}
	if mine >= s.perKey {
		ended = append(ended, s.remove(s.stalest(func(o *session) bool { return o.owner == owner })))
	}
	if len(s.byID) >= s.total {
		ended = append(ended, s.remove(s.stalest(func(*session) bool { return true })))
	}
	s.byID[made.id] = made
	s.mu.Unlock()

	for _, old := range ended {
		old.end()
		s.forget(old.id)
	}
	return made.id
}

// use tells whether the session is open and the owner's, and keeps it from
// idling out.
func (s *sessions) use(id, owner string) (*session, error) {
	now := time.Now()
	s.mu.Lock()
	found := s.byID[id]
	if found == nil || found.owner != owner {
		s.mu.Unlock()
		return nil, errNoSession
	}
	if s.expired(found, now) {
		s.remove(found)
		s.mu.Unlock()
		found.end()
		s.forget(id)
		return nil, errNoSession
	}
	found.lastUsed = now
	s.mu.Unlock()
	return found, nil
}

// Another key's session is answered like one that never was.
var errNoSession = store.Errorf(store.CodeNotFound, "",
	"this MCP session does not exist, has ended, or belongs to another key; send initialize to open a new one")

// enter counts an open stream, during which the session does not idle out. It
// refuses more than streamsPerSession.
func (s *sessions) enter(held *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held.streams >= streamsPerSession {
		return false
	}
	held.streams++
	return true
}

// leave is the end of a stream that entered.
func (s *sessions) leave(held *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held.streams--
	held.lastUsed = time.Now()
}

// close ends the owner's session and its streams.
func (s *sessions) close(id, owner string) {
	s.mu.Lock()
	found := s.byID[id]
	if found == nil || found.owner != owner {
		s.mu.Unlock()
		return
	}
	s.remove(found)
	s.mu.Unlock()
	found.end()
}

func (s *sessions) expired(o *session, now time.Time) bool {
	return o.streams == 0 && now.Sub(o.lastUsed) > s.idle
}

func (s *sessions) remove(o *session) *session {
	delete(s.byID, o.id)
	return o
}

// stalest prefers sessions without an open stream.
func (s *sessions) stalest(of func(*session) bool) *session {
	var worst *session
	for _, o := range s.byID {
		if !of(o) {
			continue
		}
		if worst == nil || (o.streams == 0) != (worst.streams == 0) && o.streams == 0 ||
			(o.streams == 0) == (worst.streams == 0) && o.lastUsed.Before(worst.lastUsed) {
			worst = o
		}
	}
	return worst
}

// ResolveSessionIdManager gives the library the sessions of the request's key.
// Outside of a request it is nobody's.
func (s *sessions) ResolveSessionIdManager(r *http.Request) mcpserver.SessionIdManager { //nolint:revive // the library's name
	if r == nil {
		return keySessions{s, ""}
	}
	return keySessions{s, principal(r.Context())}
}

// keySessions are the sessions of one key, in the library's terms.
type keySessions struct {
	all   *sessions
	owner string
}

// Generate implements mcpserver.SessionIdManager.
func (k keySessions) Generate() string { return k.all.open(k.owner) }

// Validate implements mcpserver.SessionIdManager.
func (k keySessions) Validate(id string) (terminated bool, err error) {
	_, err = k.all.use(id, k.owner)
	return false, err
}

// Terminate implements mcpserver.SessionIdManager.
func (k keySessions) Terminate(id string) (notAllowed bool, err error) {
	k.all.close(id, k.owner)
	return false, nil
}
