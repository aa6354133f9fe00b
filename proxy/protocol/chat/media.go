package chat

import "bytes"

// Link reads an address into a part: a data URL becomes media type and data, an http
// or https URL stays one. It returns what is wrong with any other, "" if nothing is.
func (r *Request) Link(p *Part, url []byte) string {
	if bytes.IndexByte(url, '\\') >= 0 {
		url = r.Keep(url)
	}
	rest, ok := bytes.CutPrefix(url, []byte("data:"))
	if !ok {
		if !bytes.HasPrefix(url, []byte("https://")) && !bytes.HasPrefix(url, []byte("http://")) {
			return "must be an http, https or data URL"
		}
		for _, c := range url {
			if c <= ' ' || c == '"' || c == '\\' || c == 0x7f {
				return "is no URL"
			}
		}
		p.URL = url
		return ""
	}
	media, data, ok := bytes.Cut(rest, []byte(","))
	media, is64 := bytes.CutSuffix(media, []byte(";base64"))
	if media, _, _ = bytes.Cut(media, []byte(";")); !ok || !is64 || len(media) == 0 || !Base64(media) || !Base64(data) {
		return "must be a data URL in base64"
	}
	p.Media, p.Data = media, data
	return ""
}

// Base64 reports whether b holds only what base64 and media types are made of.
func Base64(b []byte) bool {
	for _, c := range b {
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '+' || c == '/' || c == '=' || c == '-' || c == '_' || c == '.' {
			continue
		}
		return false
	}
	return true
}
