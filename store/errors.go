package store

import (
	"errors"
	"fmt"
)

// Code classifies an error for callers: it decides the HTTP status, the MCP
// result and whether a retry can help. The words are part of the contract.
type Code string

// The codes of every error that leaves a store or an operation.
const (
	CodeInvalid         Code = "invalid"         // a field is missing, malformed or unknown
	CodeUnauthenticated Code = "unauthenticated" // no key, or one that is unknown, expired or revoked
	CodeForbidden       Code = "forbidden"       // the key lacks a scope or a tool
	CodeNotFound        Code = "not_found"       // no such row in this team
	CodeConflict        Code = "conflict"        // the row's state, or another use of the same key, forbids it
	CodeUnsupported     Code = "unsupported"     // media type not accepted
	CodeTooLarge        Code = "too_large"       // over a size limit
	CodeRateLimited     Code = "rate_limited"    // over a rate or a quota; retryable
	CodeUnavailable     Code = "unavailable"     // the database is away or busy; retryable
	CodeInternal        Code = "internal"        // a fault of ours; details go to the log alone
)

// Error is the one error type with meaning for callers. Message is written for
// whoever made the call: which field, what came, what is expected, how to mend
// it. Err is the cause, for the log alone.
type Error struct {
	Code    Code
	Field   string // the input field at fault, dotted; empty where none is
	Message string
	Err     error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Err)
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of the given code. A %w verb sets the cause's place in
// the chain but keeps its text in the message; wrap driver errors with
// Error{Err: err} instead, so that they stay in the log.
func Errorf(code Code, field, format string, args ...any) *Error {
	return &Error{Code: code, Field: field, Message: fmt.Sprintf(format, args...)}
}

// CodeOf answers the code of the first Error in err's chain, and CodeInternal
// for an error it does not know. A nil error has no code.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// Retryable tells whether the same call may succeed later, unchanged.
func (c Code) Retryable() bool { return c == CodeRateLimited || c == CodeUnavailable }
