// Package aws is the only door to Amazon's own libraries: their signature of a request
// (version 4), and the frames that their streams are made of.
package aws

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Credentials are what a request is signed with.
type Credentials struct {
	KeyID, Secret string
	Session       string // token of temporary credentials, "" without
}

// ParseSecret reads a provider key: "KEY_ID:SECRET" or "KEY_ID:SECRET:SESSION_TOKEN"
// signs. ok is false for anything else: that is a key of Bedrock's own, to be sent as a
// bearer token. Neither kind holds a colon.
func ParseSecret(secret string) (c Credentials, ok bool) {
	c.KeyID, c.Secret, ok = strings.Cut(secret, ":")
	c.Secret, c.Session, _ = strings.Cut(c.Secret, ":")
	return c, ok && c.KeyID != "" && c.Secret != ""
}

// A Signer signs requests. It keeps the key that it has derived for a day, behind a lock
// of its own, so that each user has one. The zero value is ready.
type Signer struct {
	s      *v4.Signer
	secret string // that the derived key is of: the library goes by the key's id alone
}

// AppendFields appends the header fields that sign a POST of body to the address:
// absolute, with the path escaped as it is sent. They cover the host and the content
// type, which must be application/json, and hold for some minutes around at.
func (s *Signer) AppendFields(dst []byte, c *Credentials, address string, body []byte, region, service string, at time.Time) ([]byte, error) {
	if s.s == nil || s.secret != c.Secret {
		s.s, s.secret = v4.NewSigner(), c.Secret
	}
	u, err := url.Parse(address)
	if err != nil {
		return dst, err
	}
	r := http.Request{Method: "POST", URL: u, Host: u.Host, Header: http.Header{"Content-Type": {"application/json"}}}
	sum := sha256.Sum256(body)
	err = s.s.SignHTTP(context.Background(), sdk.Credentials{AccessKeyID: c.KeyID, SecretAccessKey: c.Secret, SessionToken: c.Session}, &r,
		hex.EncodeToString(sum[:]), service, region, at)
	if err != nil {
		return dst, err
	}
	for _, name := range [...]string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
		if v := r.Header.Get(name); v != "" {
			dst = append(append(append(append(dst, name...), ": "...), v...), "\r\n"...)
		}
	}
	return dst, nil
}

// AppendConversePath appends the path of Converse below an endpoint's address: the
// operator's name of the model as one segment, an ARN too, and the operation.
func AppendConversePath(dst []byte, model string, stream bool) []byte {
	const hex = "0123456789ABCDEF"
	dst = append(dst, "/model/"...)
	for i := 0; i < len(model); i++ {
		c := model[i]
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '.' || c == '_' || c == '~' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	if stream {
		return append(dst, "/converse-stream"...)
	}
	return append(dst, "/converse"...)
}

// Region is the region in the name of an endpoint's host, bedrock-runtime.REGION.…, ""
// if it has none.
func Region(host string) string {
	_, rest, ok := strings.Cut(host, ".")
	if !ok || !strings.HasPrefix(host, "bedrock-runtime") {
		return ""
	}
	region, _, _ := strings.Cut(rest, ".")
	return region
}

// ErrFrame means that a stream holds what is no frame: nothing behind it can be found.
var ErrFrame = errors.New("aws: unreadable frame of an event stream")

// appendLine appends a JSON text as one line: line feeds are white space in it.
func appendLine(dst, v []byte) []byte {
	for {
		i := bytes.IndexAny(v, "\r\n")
		if i < 0 {
			return append(dst, v...)
		}
		dst = append(append(dst, v[:i]...), ' ')
		v = v[i+1:]
	}
}
