package record

// Size is how many decisions are recorded, and how many bytes they take.
func (r *Ring) Size() (rows, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rows, r.bytes
}
