package catalogfile

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"tokenrelay/shared/vertex"
)

var errSecretText = errors.New("has a blank or a character outside printable ASCII")

// checkSecret says what is wrong with a secret, without showing it: it stands in a
// header, or is a service account of Google for a provider of the dialect vertex.
func (p *Provider) checkSecret(secret string) error {
	if p.Protocol == "gemini" && DialectOf(p) == "vertex" && vertex.IsAccount(secret) {
		_, err := vertex.Parse(secret)
		return err
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errSecretText
	}
	return nil
}

// ResolveSecrets replaces "env:NAME" and "file:/path" by what they name. A variable
// that is not set leaves the secret "" (see ProviderKey.Secret) and is returned as
// "provider/key: NAME is not set"; a file that cannot be read is an error.
func (f *File) ResolveSecrets(env func(string) (string, bool)) (missing []string, err error) {
	for i := range f.Providers {
		p := &f.Providers[i]
		for j := range p.Keys {
			k := &p.Keys[j]
			switch {
			case strings.HasPrefix(k.Secret, "env:"):
				name := strings.TrimPrefix(k.Secret, "env:")
				value, _ := env(name)
				if value == "" {
					missing = append(missing, p.Name+"/"+k.Name+": "+name+" is not set")
				}
				k.Secret = strings.TrimSpace(value)
			case strings.HasPrefix(k.Secret, "file:"):
				b, err := os.ReadFile(strings.TrimPrefix(k.Secret, "file:"))
				if err != nil {
					return nil, fmt.Errorf("cannot read the secret of %s/%s: %w", p.Name, k.Name, err)
				}
				k.Secret = strings.TrimSpace(string(b))
				if k.Secret == "" {
					return nil, fmt.Errorf("cannot read the secret of %s/%s: the file is empty", p.Name, k.Name)
				}
			}
			if err := p.checkSecret(k.Secret); err != nil {
				return nil, fmt.Errorf("cannot use the secret of %s/%s: it %w", p.Name, k.Name, err)
			}
		}
	}
	return missing, nil
}
