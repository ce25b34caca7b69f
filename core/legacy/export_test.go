package legacy

// ReadPeers reads a peers.json without its directory.
func ReadPeers(data []byte) (*Import, error) {
	imp := new(Import)
	return imp, imp.readPeers(data)
}
