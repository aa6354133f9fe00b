package peek

import (
	"bytes"
	"io"
	"mime/multipart"
	"strings"
	"testing"
)

const formType = `multipart/form-data; boundary=B1`

// parts makes a form of whole parts.
func formOf(parts ...string) []byte {
	return []byte("--B1\r\n" + strings.Join(parts, "\r\n--B1\r\n") + "\r\n--B1--\r\n")
}

func part(name, value string) string {
	return "Content-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value
}

func file(name, value string) string {
	return "Content-Disposition: form-data; name=\"" + name + "\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n" + value
}

func TestForm(t *testing.T) {
	var r Request
	body := formOf(file("file", "\r\n-- bytes \x00\xff --B\r\n--b1--"), part("model", "m"), part("response_format", "srt"), part("prompt", "hi"), part("timestamp_granularities[]", "word"))
	b, err := ScanForm(body, []byte(formType), OpenAITranscription, &r)
	if err != nil || string(b) != "B1" || string(r.Model) != "m" || string(r.Media.Format) != "srt" || string(body[r.Media.File.Start:r.Media.File.End]) != "\r\n-- bytes \x00\xff --B\r\n--b1--" {
		t.Fatalf("%v %+v", err, r)
	}
	if r.TextBytes+r.MediaBytes != int64(len(body)) || r.MediaBytes != 25 || r.Media.Words != 2 {
		t.Errorf("%d of text, %d of media, %d words", r.TextBytes, r.MediaBytes, r.Media.Words)
	}
	body = formOf(part("model", "m"), file("image[]", "a"), file("image[]", ""), part("n", "3"), part("size", "10x20"), part("stream", "true"))
	if _, err := ScanForm(body, []byte(`multipart/form-data; charset=x; boundary="B1"`), OpenAIPicturesForm, &r); err != nil || r.Images != 2 || r.Media.Pictures != 3 || !r.Stream || r.Media.Width != 10 || r.Media.Height != 20 {
		t.Fatalf("%v %+v", err, r)
	}
}

// What two readers could take for two things is refused.
func TestFormRefused(t *testing.T) {
	good := []string{file("file", "x"), part("model", "m")}
	with := func(parts ...string) []byte { return formOf(append(parts, good...)...) }
	for name, body := range map[string][]byte{
		"nothing":            nil,
		"only the end":       []byte("--B1--\r\n"),
		"a preamble":         append([]byte("hello\r\n"), with()...),
		"an epilogue":        append(with(), "more"...),
		"no end":             with()[:len(with())-8],
		"another boundary":   bytes.ReplaceAll(with(), []byte("B1"), []byte("B2")),
		"line feeds":         bytes.ReplaceAll(with(), []byte("\r\n"), []byte("\n")),
		"a padded delimiter": bytes.Replace(with(), []byte("\r\n--B1\r\n"), []byte("\r\n--B1 \r\n"), 1),
		"a longer delimiter": bytes.Replace(with(), []byte("\r\n--B1\r\n"), []byte("\r\n--B1x\r\n"), 1),
		"a bare line feed":   bytes.Replace(with(), []byte("\r\n--B1\r\n"), []byte("\n--B1\r\n"), 1),
		"no content":         []byte("--B1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n--B1--\r\n"),
		"two dispositions":   with("Content-Disposition: form-data; name=\"a\"\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nx"),
		"no disposition":     with("Content-Type: text/plain\r\n\r\nx"),
		"an attachment":      with("Content-Disposition: attachment; name=\"a\"\r\n\r\nx"),
		"a folded line":      with("Content-Disposition: form-data;\r\n name=\"a\"\r\n\r\nx"),
		"base64":             with("Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\nx"),
		"an encoded name":    with("Content-Disposition: form-data; name*=UTF-8''model\r\n\r\nx"),
		"an escaped name":    with("Content-Disposition: form-data; name=\"mod\\el\"\r\n\r\nx"),
		"a percent name":     with("Content-Disposition: form-data; name=\"mod%65l\"\r\n\r\nx"),
		"two names":          with("Content-Disposition: form-data; name=\"a\"; name=\"model\"\r\n\r\nx"),
		"a blank value":      with("Content-Disposition: form-data; name=\"a\"; x=\r\n\r\nx"),
		"another parameter":  with("Content-Disposition: form-data; name=\"a\"; x=y\r\n\r\nx"),
		"words unquoted":     with("Content-Disposition: form-data; name=\"a\"; filename=a b.mp3\r\n\r\nx"),
		"two file names":     with("Content-Disposition: form-data; name=\"file\"; filename=a; filename=b\r\n\r\nx"),
		"two models":         with(part("model", "m")),
		"another model":      with(part("MODEL", "m")),
		"a list of models":   with(part("model[]", "m")),
		"a model as a file":  formOf(file("file", "x"), file("model", "m")),
		"two files":          with(file("file", "y")),
		"a file elsewhere":   with(file("other", "y")),
		"a stream of words":  with(part("stream", "yes")),
		"no number":          with(part("n", "many")),
		"too many":           with(part("n", "99")),
	} {
		var r Request
		if _, err := ScanForm(body, []byte(formType), OpenAITranscription, &r); err == nil || err.Status != 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, kind := range []string{"", "application/json", "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=a;boundary=b", "multipart/form-data; boundary=a\"b", "multipart/mixed; boundary=B1", "multipart/form-data; boundary=" + strings.Repeat("a", 71)} {
		var r Request
		if _, err := ScanForm(with(), []byte(kind), OpenAITranscription, &r); err == nil {
			t.Errorf("%q passed", kind)
		}
	}
}

// FuzzForm: what is admitted, Go's own reader takes for the same model, file and number (E2).
func FuzzForm(f *testing.F) {
	f.Add(formOf(file("file", "x"), part("model", "m")))
	f.Add(formOf(part("n", "2"), file("file", "\r\n--B1x"), part("model", "m"), part("stream", "true")))
	f.Add([]byte("--B1\r\nContent-Disposition: form-data; name=file; filename=\"a;b\\\"\"\r\n\r\n\r\n--B1\r\ncontent-disposition: form-data; name=model\r\n\r\nm\r\n--B1--"))
	f.Add([]byte("--B1\r\nContent-Disposition:form-data;name=\"file\";0=\r\n\r\n0\r\n--B1\r\nContent-Disposition:form-data;name=\"model\"\r\n\r\nm\r\n--B1--"))
	f.Add([]byte("--B1\r\nContent-Disposition: form-data; name=file; filename=a.mp3; filename*=UTF-8''%61 \r\n\r\n\r\n--B1\r\ncontent-disposition: form-data; name=model\r\n\r\nm\r\n--B1--"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var r Request
		if _, err := ScanForm(body, []byte(formType), OpenAITranscription, &r); err != nil {
			if err.Status != 400 {
				t.Fatalf("%+v", err)
			}
			return
		}
		in := multipart.NewReader(bytes.NewReader(body), "B1")
		models, files := 0, 0
		for {
			p, err := in.NextRawPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("mime/multipart cannot read %q: %v", body, err)
			}
			v, err := io.ReadAll(p)
			if err != nil {
				t.Fatalf("mime/multipart cannot read %q: %v", body, err)
			}
			switch p.FormName() {
			case "model":
				if models++; string(v) != string(r.Model) {
					t.Fatalf("%q: model %q, we read %q", body, v, r.Model)
				}
			case "file":
				if files++; string(v) != string(body[r.Media.File.Start:r.Media.File.End]) {
					t.Fatalf("%q: file %q", body, v)
				}
			case "stream":
				if (string(v) == "true" || string(v) == "True") != r.Stream {
					t.Fatalf("%q: stream %q", body, v)
				}
			}
		}
		if models != 1 || files != 1 {
			t.Fatalf("%q: %d models, %d files", body, models, files)
		}
	})
}
