//go:build wasip1

package sdk

import "unsafe"

//go:wasmimport ogp_v1 read
func importRead(dst unsafe.Pointer)

//go:wasmimport ogp_v1 write
func importWrite(src unsafe.Pointer, length uint32)

//go:wasmimport ogp_v1 get
func importGet(key unsafe.Pointer, length uint32) int32

//go:wasmimport ogp_v1 call
func importCall(op unsafe.Pointer, opLength uint32, req unsafe.Pointer, reqLength uint32) int32

//go:wasmimport ogp_v1 log
func importLog(level uint32, msg unsafe.Pointer, length uint32)

func pointer(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

// pending takes the n bytes that the host has waiting. They are ours alone and never
// written again, so that they can be a string as they are.
func pending(n int32) string {
	if n <= 0 {
		return ""
	}
	b := make([]byte, n)
	importRead(unsafe.Pointer(&b[0]))
	return unsafe.String(&b[0], n)
}

func hostCall(op, request string) (string, int32) {
	n := importCall(pointer(op), uint32(len(op)), pointer(request), uint32(len(request)))
	return pending(n), n
}

func hostGet(key string) (string, bool) {
	n := importGet(pointer(key), uint32(len(key)))
	return pending(n), n >= 0
}

func hostLog(level uint32, text string) { importLog(level, pointer(text), uint32(len(text))) }

// checked says whether an input is JSON, which the host's is.
func checked(string) error { return nil }

// Serve is an export's body: it reads the n bytes of input, runs the hook and writes its
// output. The packages policy, notify and handle call it.
func Serve(hook string, n int32) int32 {
	out, status := Run(hook, pending(n))
	importWrite(pointer(out), uint32(len(out)))
	return status
}

//go:wasmexport ogp_init
func initialize(n int32) int32 {
	if err := Start(pending(n)); err != nil {
		out := err.Error()
		importWrite(pointer(out), uint32(len(out)))
		return statusFailure
	}
	return statusDone
}

// Main does nothing in a module: the host calls its exports. Natively it runs a case.
func Main() {}
