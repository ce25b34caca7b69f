package lookup

import "strings"

// Part is what of a document somebody reads: members, by their dotted paths.
type Part struct {
	names map[string]*Part // nil: all of it
}

// PartOf is the part with the members at these paths.
func PartOf(paths []string) *Part {
	all := &Part{names: map[string]*Part{}}
	for _, path := range paths {
		at := all
		for name := range strings.SplitSeq(path, ".") {
			if at.names == nil { // another path names all of it
				break
			}
			if at.names[name] == nil {
				at.names[name] = &Part{names: map[string]*Part{}}
			}
			at = at.names[name]
		}
		at.names = nil
	}
	return all
}

// Append appends the part of a document, which must be a JSON object: what is not there, or lies in what is no object,
// is left out.
func (p *Part) Append(into, doc []byte) []byte {
	into = append(into, '{')
	left := len(p.names)
	for name, rest := range members(doc) {
		part := p.names[string(name)]
		if part == nil {
			continue
		}
		end := skip(rest, 0)
		if end < 0 {
			break
		}
		if part.names != nil && rest[0] != '{' {
			continue
		}
		if into[len(into)-1] != '{' {
			into = append(into, ',')
		}
		into = append(append(append(into, '"'), name...), '"', ':')
		if part.names == nil {
			into = append(into, rest[:end]...)
		} else {
			into = part.Append(into, rest[:end])
		}
		if left--; left == 0 {
			break
		}
	}
	return append(into, '}')
}
