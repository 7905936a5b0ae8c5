package tools

import (
	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/dispatcher"
	"github.com/tellhook/tellhook/store"
)

// Config is what the operations need.
type Config struct {
	Store           store.Store
	Egress          dispatcher.Egress
	Schedule        dispatcher.Schedule
	SignatureHeader string
	PublicURL       string   // without a slash at the end; empty: no dashboard links
	ProductName     string   // in titles; empty means Tellhook
	Version         string   // of the program, for the OpenAPI document
	BuiltinTypes    []string // built-in event types that exist; empty means all
	MaxEventBytes   int      // of an event's data; 0 means DefaultMaxEventBytes
	Log             zerolog.Logger
}

// DefaultMaxEventBytes is the limit of an event's data.
const DefaultMaxEventBytes = 256 << 10

// Tools are the operations on one store.
type Tools struct {
	config Config
	types  *catalogue
	keys   *keyCache
	ops    []*Operation
}

// New compiles every schema and builds the table. It fails where BuiltinTypes
// names a type that is not built in.
func New(c Config) (*Tools, error) {
	if c.MaxEventBytes == 0 {
		c.MaxEventBytes = DefaultMaxEventBytes
	}
	if c.ProductName == "" {
		c.ProductName = "Tellhook"
	}
	types, err := newCatalogue(c.BuiltinTypes)
	if err != nil {
		return nil, err
	}
	t := &Tools{config: c, types: types, keys: newKeyCache(c.Store, c.Log)}
	t.ops = t.table()
	for _, o := range t.ops {
		o.log = c.Log
	}
	return t, nil
}

// Operations are the rows of the table in their fixed order.
func (t *Tools) Operations() []*Operation { return t.ops }

// Close writes what is still to be written of keys' last use. Call it when no
// request comes any more, and before the store is closed.
func (t *Tools) Close() { t.keys.close() }
