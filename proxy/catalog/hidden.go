package catalog

import (
	"net"
	"net/url"
	"slices"
	"strings"

	"tokenrelay/shared/aws"
)

// domainOf is what an address tells of its provider: its domain without the host's own
// labels (openai.com, my.co.uk), or an address of the network as it stands, or a name of
// one label.
func domainOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if net.ParseIP(host) != nil {
		return host
	}
	labels := strings.Split(host, ".")
	keep := 2
	if n := len(labels); n > 2 && len(labels[n-1]) == 2 && slices.Contains(registries, labels[n-2]) {
		keep = 3
	}
	return strings.Join(labels[max(0, len(labels)-keep):], ".")
}

// registries are the labels below a country's under which names are sold.
var registries = []string{"ac", "co", "com", "edu", "go", "gov", "gr", "ne", "net", "or", "org"}

// minPart is how long a piece of a secret must be, in bytes, to be taken out of texts: a
// shorter one could be a word, as the secrets of servers that ask for none are.
const minPart = 8

// partsOf is what is secret of a key, and what its secret consists of, the longest first.
func partsOf(k *ProviderKey) []string {
	secret := strings.TrimSpace(string(k.Secret))
	parts := []string{secret}
	switch c, signs := aws.ParseSecret(secret); {
	case k.Tokens != nil:
		email, keyID := k.Tokens.Account()
		parts = []string{email, keyID}
	case signs:
		parts = []string{secret, c.Session, c.Secret, c.KeyID}
	}
	parts = slices.DeleteFunc(parts, func(p string) bool { return len(p) < minPart })
	slices.SortStableFunc(parts, func(a, b string) int { return len(b) - len(a) })
	return parts
}
