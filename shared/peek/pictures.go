package peek

import (
	"bytes"

	"tokenrelay/shared/apierr"
)

const (
	maxPictures = 10 // n
	maxPartial  = 3  // partial_images
	maxPixels   = 16_384
)

var pictureNames = []string{"model", "prompt", "n", "size", "quality", "stream", "partial_images", "response_format", "images", "image", "mask", "input_fidelity"}

// pictures reads a request for pictures that is JSON: to make new ones, or to change
// some that it names.
func (s *scanner) pictures() *apierr.Error {
	r := s.r
	seen, err := s.body(pictureNames, func(n, depth int) bool {
		from := s.i
		var v []byte
		switch name := pictureNames[n]; name {
		case "model":
			return s.model()
		case "n":
			return s.integer("n", maxPictures, &r.Media.Pictures)
		case "partial_images":
			if s.next() == '0' {
				return s.number()
			}
			return s.integer("partial_images", maxPartial, &r.Media.Partial)
		case "stream":
			return s.boolean("stream", &r.Stream)
		case "size":
			return s.plain("size", 32, &v) && s.size(v)
		case "quality":
			return s.plain("quality", 32, &r.Media.Quality)
		case "response_format":
			return s.plain("response_format", 32, &r.Media.Format)
		case "images", "image", "mask":
			return s.given(name, depth)
		}
		ok := s.value(depth)
		r.Media.Words += int64(s.i - from)
		return ok
	})
	switch {
	case err != nil:
		return err
	case !r.ModelSpan.Present():
		return missing("model")
	case seen&(1<<1) == 0:
		return missing("prompt")
	}
	return nil
}

// size reads how large pictures are to be.
func (s *scanner) size(v []byte) bool {
	m := &s.r.Media
	w, h, two := bytes.Cut(v, []byte("x"))
	m.Width, m.Height = smallInt(w), smallInt(h)
	switch {
	case v == nil || string(v) == "auto":
		m.Width, m.Height = 0, 0
	case two && m.Width > 0 && m.Height > 0 && m.Width <= maxPixels && m.Height <= maxPixels:
	default:
		m.Width, m.Height, m.OddSize = 0, 0, true
	}
	return true
}

// given reads pictures that a request brings: texts (data or addresses), objects with
// such a text under image_url, or lists of those. One that stands at the provider is of
// the account that all customers share.
func (s *scanner) given(name string, depth int) bool {
	switch s.next() {
	case '[':
		if !s.open(depth) {
			return false
		}
		for first := true; s.element(first); first = false {
			if s.next() == '[' {
				return s.refuse(name, "The field '"+name+"' must be a list of pictures.")
			}
			if !s.given(name, depth+1) {
				return false
			}
		}
		return s.err == nil
	case '{':
		s.r.Images++
		from := s.i
		_, ok := s.object(depth, name+".", givenNames, func(n, depth int) bool {
			if givenNames[n] == "file_id" {
				s.r.StoredID = "file_id"
			}
			return s.value(depth)
		})
		s.r.MediaBytes += int64(s.i - from)
		return ok
	case '"':
		s.r.Images++
		start, end, _, ok := s.str()
		s.r.MediaBytes += int64(end - start)
		return ok
	}
	return s.value(depth)
}

var givenNames = []string{"file_id", "image_url"}
