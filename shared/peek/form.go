package peek

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"tokenrelay/shared/apierr"
)

// What a form may have at most.
const (
	maxParts    = 256
	maxPartHead = 4 << 10 // bytes
	maxField    = 64 << 10
	maxBoundary = 70
)

// ScanForm reads a body of multipart/form-data into r, as Scan does one of JSON; contentType
// is that header's value. It is as strict: what it accepts, every reader of forms takes for
// the same parts. Lines end with CR LF, nothing stands before the first delimiter or behind
// the last, a part has one disposition with one plain name, and each field that decides what
// a request may do or cost occurs once and is text.
//
// boundary is the form's, a view of contentType.
func ScanForm(body, contentType []byte, shape Shape, r *Request) (boundary []byte, err *apierr.Error) {
	*r = Request{Shape: shape, Size: len(body)}
	r.Media.Slow = 1
	boundary, err = Boundary(contentType)
	if err != nil {
		return nil, err
	}
	f := form{b: body, boundary: boundary, r: r}
	if err := f.parts(); err != nil {
		return nil, err
	}
	switch {
	case !r.ModelSpan.Present():
		return nil, missing("model")
	case shape == OpenAITranscription && !r.Media.File.Present():
		return nil, missing("file")
	case shape == OpenAIPicturesForm && r.Images == 0:
		return nil, missing("image")
	}
	r.TextBytes = int64(len(body)) - r.MediaBytes
	return boundary, nil
}

// Boundary finds the boundary in a Content-Type of multipart/form-data.
func Boundary(contentType []byte) ([]byte, *apierr.Error) {
	kind, rest, _ := bytes.Cut(contentType, []byte(";"))
	if !bytes.EqualFold(bytes.TrimSpace(kind), []byte("multipart/form-data")) {
		return nil, apierr.Invalid("", "The request must be multipart/form-data.")
	}
	var boundary []byte
	for more := true; more; {
		var p []byte
		p, rest, more = bytes.Cut(rest, []byte(";")) // no boundary of ours has a semicolon
		name, value, ok := bytes.Cut(bytes.TrimSpace(p), []byte("="))
		if !ok || !bytes.EqualFold(name, []byte("boundary")) {
			continue
		}
		if boundary != nil {
			return nil, errBoundary
		}
		if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		boundary = value
	}
	if len(boundary) == 0 || len(boundary) > maxBoundary {
		return nil, errBoundary
	}
	for _, c := range boundary {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && bytes.IndexByte([]byte("'()+_,-./:=?"), c) < 0 {
			return nil, errBoundary
		}
	}
	return boundary, nil
}

var (
	errBoundary = apierr.Invalid("", "The Content-Type must name one boundary of the form, of at most 70 letters, digits and '()+_,-./:=?.")
	errForm     = apierr.Invalid("", "The request body is not a readable form: lines end with CR LF, and each part has one plain name.")
)

// form is one pass over a form.
type form struct {
	b        []byte
	i        int
	boundary []byte
	seen     uint32 // of formNames
	r        *Request
}

// The fields that decide what a request may do or cost.
var formNames = []string{"model", "stream", "response_format", "n", "size", "quality", "partial_images", "prompt", "file", "mask", "image", "url", "file_url", "file_id"}

// delimiter is at the start of b: its length with the line's end, and whether it is the
// last one; 0 if b does not begin with one.
func (f *form) delimiter(b []byte) (n int, last bool) {
	n = 2 + len(f.boundary)
	if len(b) < n+2 || b[0] != '-' || b[1] != '-' || !bytes.Equal(b[2:n], f.boundary) {
		return 0, false
	}
	switch string(b[n : n+2]) {
	case "\r\n":
		return n + 2, false
	case "--":
		return n + 2, true
	}
	return 0, false
}

// parts reads all parts.
func (f *form) parts() *apierr.Error {
	n, last := f.delimiter(f.b)
	if n == 0 || last {
		return errForm
	}
	f.i = n
	for count := 0; ; count++ {
		if count == maxParts {
			return apierr.Invalid("", "The form has more than "+strconv.Itoa(maxParts)+" parts.")
		}
		name, file, err := f.head()
		if err != nil {
			return err
		}
		start := f.i
		end, last := f.content()
		if end < 0 {
			return errForm
		}
		if err := f.field(name, file, Span{start, end}); err != nil {
			return err
		}
		if last {
			break
		}
	}
	if rest := f.b[f.i:]; len(rest) > 0 && string(rest) != "\r\n" {
		return errForm
	}
	return nil
}

// content goes behind the delimiter that ends the part at f.i, and returns where the
// part's content ends.
func (f *form) content() (end int, last bool) {
	for i := f.i; ; {
		// A line that begins with the boundary is a delimiter to some readers, whatever
		// follows it.
		at := bytes.Index(f.b[i:], f.boundary)
		if at < 0 {
			return -1, false
		}
		at += i
		if at < f.i+2 || f.b[at-1] != '-' || f.b[at-2] != '-' || at > f.i+2 && f.b[at-3] != '\n' {
			i = at + 1
			continue
		}
		// Some take the empty line behind the head for the delimiter's own, and a line
		// feed alone for an end of line.
		n, last := f.delimiter(f.b[at-2:])
		if n == 0 || at < f.i+4 || f.b[at-4] != '\r' {
			return -1, false
		}
		end, f.i = at-4, at-2+n
		return end, last
	}
}

var (
	disposition = []byte("content-disposition")
	transfer    = []byte("content-transfer-encoding")
)

// head reads the header lines of a part: its name, and whether it is a file.
func (f *form) head() (name []byte, file bool, err *apierr.Error) {
	end := bytes.Index(f.b[f.i:min(len(f.b), f.i+maxPartHead)], []byte("\r\n\r\n"))
	if end < 0 {
		return nil, false, errForm
	}
	lines := f.b[f.i : f.i+end]
	f.i += end + 4
	found := false
	for more := true; more; {
		var line []byte
		line, lines, more = bytes.Cut(lines, []byte("\r\n"))
		key, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !plainLine(key, value) {
			return nil, false, errForm
		}
		switch {
		case bytes.EqualFold(key, disposition):
			if found {
				return nil, false, errForm
			}
			found = true
			if name, file, ok = parameters(bytes.TrimSpace(value)); !ok {
				return nil, false, errForm
			}
		case bytes.EqualFold(key, transfer):
			switch string(bytes.ToLower(bytes.TrimSpace(value))) {
			case "7bit", "8bit", "binary":
			default:
				return nil, false, errForm
			}
		}
	}
	if !found {
		return nil, false, errForm
	}
	return name, file, nil
}

// plainLine reports whether every reader takes a header line for the same.
func plainLine(key, value []byte) bool {
	for _, c := range key {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' {
			return false
		}
	}
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return len(key) > 0
}

// parameters reads form-data; name="…"; filename="…", and nothing else: some readers take
// no line with a parameter that they cannot read, or that stands twice. A name is plain:
// no escapes, no other encoding.
func parameters(v []byte) (name []byte, file, ok bool) {
	encoded := false
	kind, rest, more := bytes.Cut(v, []byte(";"))
	if !bytes.EqualFold(bytes.TrimSpace(kind), []byte("form-data")) || !more {
		return nil, false, false
	}
	for len(rest) > 0 {
		rest = bytes.TrimLeft(rest, " \t")
		key, value, found := bytes.Cut(rest, []byte("="))
		if !found {
			return nil, false, false
		}
		var text []byte
		if len(value) > 0 && value[0] == '"' {
			// A quote inside is written with a backslash by some, as %22 by others.
			i := 1
			for i < len(value) && value[i] != '"' {
				if value[i] == '\\' {
					i++
				}
				i++
			}
			if i >= len(value) {
				return nil, false, false
			}
			text, rest = value[1:i], bytes.TrimLeft(value[i+1:], " \t")
			if len(rest) > 0 && rest[0] != ';' {
				return nil, false, false
			}
			rest = bytes.TrimPrefix(rest, []byte(";"))
		} else {
			text, rest, _ = bytes.Cut(value, []byte(";"))
			if text = bytes.TrimRight(text, " \t"); !token(text) {
				return nil, false, false
			}
		}
		switch {
		case bytes.EqualFold(key, []byte("name")):
			if name != nil || len(text) == 0 || bytes.ContainsAny(text, "\\%\" \t\x00") {
				return nil, false, false
			}
			name = text
		case bytes.EqualFold(key, []byte("filename")) && !file:
			file = true
		case bytes.EqualFold(key, []byte("filename*")) && !encoded:
			encoded = true
		default:
			return nil, false, false
		}
	}
	return name, file || encoded, name != nil
}

// token reports whether b is a token of HTTP, which a value without quotes must be.
func token(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return len(b) > 0
}

// field takes one part.
func (f *form) field(raw []byte, file bool, at Span) *apierr.Error {
	r := f.r
	list := bytes.TrimSuffix(raw, []byte("[]")) // image[], and some say image[0]
	if i := bytes.IndexByte(raw, '['); i > 0 && raw[len(raw)-1] == ']' {
		list = raw[:i]
	}
	n, exact := like(list, false, formNames)
	if n < 0 {
		if file {
			r.MediaBytes += int64(at.End - at.Start)
			return apierr.Invalid("", "The form has a file in a part that takes none.")
		}
		return nil
	}
	name := formNames[n]
	many := name == "image"
	switch {
	case !exact || len(list) != len(raw) && !many:
		return apierr.Invalid(name, "A part is named like '"+name+"' but not plainly; use the exact name.")
	case f.seen&(1<<n) != 0 && !many:
		return apierr.Invalid(name, "The part '"+name+"' occurs more than once.")
	}
	f.seen |= 1 << n
	v := f.b[at.Start:at.End]
	switch name {
	case "file":
		r.MediaBytes += int64(len(v))
		r.Media.File = at
		if len(v) == 0 {
			return apierr.Invalid("file", "The file is empty.")
		}
		return nil
	case "mask", "image":
		r.MediaBytes += int64(len(v))
		r.Images++
		return nil
	}
	if file || len(v) > maxField || !utf8.Valid(v) {
		return apierr.Invalid(name, "The part '"+name+"' must be plain text.")
	}
	return f.text(name, v, at)
}

// text takes a part that is text.
func (f *form) text(name string, v []byte, at Span) *apierr.Error {
	r := f.r
	odd := func() *apierr.Error {
		return apierr.Invalid(name, "The part '"+name+"' has an unknown value.")
	}
	switch name {
	case "url", "file_url", "file_id":
		if r.Shape == OpenAITranscription {
			return apierr.Invalid(name, "Sound is sent along as 'file' here: the cost of '"+name+"' has no bound.")
		}
		r.StoredID = name
	case "model":
		if len(v) == 0 || len(v) > MaxModel || bytes.ContainsAny(v, "\r\n\x00") {
			return odd()
		}
		r.Model, r.ModelSpan = v, at
	case "stream":
		switch string(v) {
		case "true", "True":
			r.Stream = true
		case "false", "False", "":
		default:
			return odd()
		}
	case "n", "partial_images":
		most, n := int64(maxPictures), smallInt(v)
		if name == "partial_images" {
			most = maxPartial
		}
		if n > most || n == 0 && string(v) != "0" {
			return odd()
		}
		if name == "n" {
			if n == 0 {
				return odd()
			}
			r.Media.Pictures = n
		} else {
			r.Media.Partial = n
		}
	case "size":
		s := scanner{r: r}
		s.size(v)
	case "quality":
		r.Media.Quality = v
	case "response_format":
		r.Media.Format = v
	case "prompt":
		r.Media.Words += int64(len(v))
		r.Media.Prompt = at
	}
	return nil
}
