package mockllm

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// The one pair of Amazon credentials that the mock knows, and the region that it is in.
// A request that is signed with anything else is refused.
const (
	AccessKeyID     = "AKIAMOCKMOCKMOCK"
	SecretAccessKey = "mock/secret+access/key"
	Region          = "eu-mock-1"
)

// signed says what is wrong with a request's signature, "" if nothing is. It is worked
// out here from the bytes that came, by Amazon's published rules, and not by their
// library, which the relay uses. A bearer token is as good as a signature.
func signed(c *conn, method, path string) string {
	auth := c.header("authorization")
	if token, ok := strings.CutPrefix(auth, "Bearer "); ok && token != "" {
		return ""
	}
	rest, ok := strings.CutPrefix(auth, "AWS4-HMAC-SHA256 ")
	if !ok {
		return "Missing Authentication Token"
	}
	part := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		part[name] = value
	}
	date := c.header("x-amz-date")
	scope := strings.Split(part["Credential"], "/")
	at, err := time.Parse("20060102T150405Z", date)
	switch {
	case len(scope) != 5 || scope[0] != AccessKeyID:
		return "The security token included in the request is invalid."
	case err != nil || time.Since(at).Abs() > 5*time.Minute || scope[1] != date[:8]:
		return "Signature expired: " + date
	case scope[2] != Region || scope[3] != "bedrock" || scope[4] != "aws4_request":
		return "Credential should be scoped to a valid region."
	}
	names := strings.Split(part["SignedHeaders"], ";")
	if !slices.IsSorted(names) || !slices.Contains(names, "host") || !slices.Contains(names, "x-amz-date") {
		return "'Host' and 'X-Amz-Date' must be signed."
	}
	var canonical bytes.Buffer
	canonical.WriteString(method + "\n" + twice(path) + "\n" + c.query + "\n")
	for _, n := range names {
		canonical.WriteString(n + ":" + strings.Join(strings.Fields(c.header(n)), " ") + "\n")
	}
	sum := sha256.Sum256(c.body)
	canonical.WriteString("\n" + part["SignedHeaders"] + "\n" + hex.EncodeToString(sum[:]))
	sum = sha256.Sum256(canonical.Bytes())
	toSign := "AWS4-HMAC-SHA256\n" + date + "\n" + strings.Join(scope[1:], "/") + "\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + SecretAccessKey)
	for _, s := range scope[1:] {
		key = mac(key, s)
	}
	if want := hex.EncodeToString(mac(key, toSign)); subtle.ConstantTimeCompare([]byte(want), []byte(part["Signature"])) != 1 {
		return "The request signature we calculated does not match the signature you provided."
	}
	return ""
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// twice escapes a path that is escaped already, as every service but S3 has it.
func twice(path string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}
