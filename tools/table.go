package tools

//go:generate go test . -count=1 -run TestGenerated -update

// table is the one place where an operation is listed. The order is that of
// tools/list, the OpenAPI document and the reference docs.
func (t *Tools) table() []*Operation {
	return []*Operation{
		t.createWebhook(),
		t.listWebhooks(),
		t.getWebhook(),
		t.updateWebhook(),
		t.deleteWebhook(),
		t.listDeliveries(),
		t.getDelivery(),
		t.listEvents(),
		t.getEvent(),
		t.listEventTypes(),
		t.publishEvent(),
		t.whoami(),
	}
}
