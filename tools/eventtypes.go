package tools

type catalogue struct{}

func newCatalogue([]string) (*catalogue, error) { return &catalogue{}, nil }
