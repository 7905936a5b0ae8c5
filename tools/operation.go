// Package tools holds the one table of operations. A row has a name, a scope, a
// schema, annotations, a REST method and path, and one Go function; REST routes,
// MCP tools, OpenAPI document, scope checks and reference docs come from it.
package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
)

// Args are the arguments of a call, by name, as raw JSON: what both faces reduce
// a request to.
type Args map[string]json.RawMessage

// defaultTimeout is an operation's deadline where its row names none.
const defaultTimeout = 10 * time.Second

// Operation is one row of the table.
type Operation struct {
	Name        string // MCP tool and OpenAPI operationId
	Title       string
	Description string

	Method string // REST
	Path   string // below /api/v1, with {name} for path parameters
	// Nested is a second path for the same operation, below a webhook; its {id}
	// fills NestedArg, and the webhook must be there.
	Nested, NestedArg string
	Status            int         // of success
	Scope             store.Scope // empty: any key

	MCP         bool // whether it is an MCP tool too
	ReadOnly    bool // the four MCP annotations
	Destructive bool
	Idempotent  bool
	OpenWorld   bool
	Timeout     time.Duration // 0: defaultTimeout

	In      *huma.Schema // flat object of all arguments, inline, no $ref
	Out     *huma.Schema // the REST answer
	SlimOut *huma.Schema // the same answer for MCP: the fields worth a model's tokens, open for the rest

	fields []field
	log    zerolog.Logger
	call   func(ctx context.Context, c *Caller, args Args) (any, error)
}

// define completes a row from the types of its function. It panics on a type
// that makes no schema, at the program's start.
func define[I, O any](o Operation, fn func(context.Context, *Caller, *I) (*O, error)) *Operation {
	in, out := reflect.TypeFor[I](), reflect.TypeFor[O]()
	o.In, o.Out, o.SlimOut = inputSchema(in), outputSchema(out), slimSchema(out)
	o.fields = fieldsOf(in, o.In)
	o.call = func(ctx context.Context, c *Caller, args Args) (any, error) {
		var v I
		if err := decode(o.fields, args, reflect.ValueOf(&v).Elem()); err != nil {
			return nil, err
		}
		return fn(ctx, c, &v)
	}
	return &o
}

// Call runs the operation for the caller in ctx (see WithCaller): deadline,
// scope, validation, function. Whether the tool is enabled is for the MCP face
// to ask (Caller.Off). The answer marshals to JSON that fits Out. Errors are
// *store.Error, safe to show; the cause of an internal one goes to the log.
func (o *Operation) Call(ctx context.Context, args Args) (result any, err error) {
	ctx, cancel := context.WithTimeout(ensureRequestID(ctx), o.deadline())
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		if err != nil {
			result, err = nil, o.presentable(ctx, err)
		}
	}()
	c, ok := CallerFrom(ctx)
	if !ok {
		return nil, errNoKey()
	}
	if err := c.allow(o); err != nil {
		return nil, err
	}
	return o.call(ctx, c, args)
}

func (o *Operation) deadline() time.Duration {
	if o.Timeout > 0 {
		return o.Timeout
	}
	return defaultTimeout
}

// presentable logs what a caller must not see and answers what it may.
func (o *Operation) presentable(ctx context.Context, err error) error {
	var e *store.Error
	switch {
	case errors.As(err, &e) && e.Code != store.CodeInternal:
		if e.Err != nil {
			o.log.Warn().Err(e.Err).Str("request_id", RequestID(ctx)).Str("operation", o.Name).Str("code", string(e.Code)).Msg(e.Message)
		}
		return e
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return &store.Error{Code: store.CodeUnavailable, Message: o.Name + " did not finish in time; try again", Err: err}
	}
	o.log.Error().Err(err).Str("request_id", RequestID(ctx)).Str("operation", o.Name).Msg("internal error")
	return &store.Error{Code: store.CodeInternal, Message: FailureOf(ctx, err).Message, Err: err}
}
