// Package notify makes a module a notifier: it exports ogp_notify. Import it from a plugin
// that tells somebody, and call Is or Batch in init.
package notify

import "github.com/opengatewayprotocol/ogp/sdk"

// Is makes f the notifier of this module. Of several events in one call, f gets each in
// turn until one is not delivered, and that outcome stands for it and the later ones. f must
// bear repeats, which have the same ID.
func Is(f func(*sdk.Event) sdk.Outcome) {
	sdk.SetNotifier(func(all []sdk.Event) sdk.Outcome {
		if len(all) == 1 { // the only one whose answer to the peer counts
			return f(&all[0])
		}
		var done []string
		for i := range all {
			if o := f(&all[i]); o.Status != sdk.StatusDelivered {
				o.Notified = done
				return o
			}
			done = append(done, all[i].ID)
		}
		return sdk.Delivered()
	})
}

// Batch makes f the notifier of this module, and lets it merge what piled up. The
// manifest must say batch = true for more than one event to come at once.
func Batch(f func([]sdk.Event) sdk.Outcome) { sdk.SetNotifier(f) }

//go:wasmexport ogp_notify
func export(n int32) int32 { return sdk.Serve(sdk.HookNotify, n) }

var _ = export
