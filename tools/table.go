package tools

// table is the one place where an operation is listed. The order is that of
// tools/list, the OpenAPI document and the reference docs.
func (t *Tools) table() []*Operation {
	return []*Operation{
		t.whoami(),
	}
}
