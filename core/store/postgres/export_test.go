package postgres

import "context"

// OpenBeside opens the store as one node of several.
var OpenBeside = func(ctx context.Context, url string) (*Store, error) { return openAs(ctx, url, false) }
