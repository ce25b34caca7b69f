package core

import "context"

type verifiedKey struct{}

// OnVerified has f called, with the context that it returns, as soon as a signature has
// been found to hold on what comes in: known is false where it is of a key that the
// envelope brought along, which may be anybody's. From then on the work is done for
// somebody. f may be called more than once.
//
// docs/threat-model.md#d7
func OnVerified(ctx context.Context, f func(known bool)) context.Context {
	return context.WithValue(ctx, verifiedKey{}, f)
}

// Verified is the function to call then; nil: nobody wants to know.
func Verified(ctx context.Context) func(known bool) {
	f, _ := ctx.Value(verifiedKey{}).(func(known bool))
	return f
}
