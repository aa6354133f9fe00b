package openai

import (
	"bytes"
	"encoding/json"
	"strings"
)

// repeats reports whether a member that is not guarded stands more than once at the
// top level: a map keeps one of them only, and comparing maps
// would compare too little.
func repeats(body []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(body))
	seen := map[string]bool{}
	depth, key := 0, true
	for {
		tok, err := dec.Token()
		if err != nil {
			return false
		}
		switch v := tok.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				depth++
			} else {
				depth--
			}
			key = depth == 1
			continue
		case string:
			if depth == 1 && key {
				if seen[strings.ToLower(v)] {
					return true
				}
				seen[strings.ToLower(v)] = true
				key = false
				continue
			}
		}
		if depth == 1 {
			key = true
		}
	}
}
