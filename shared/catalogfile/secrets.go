package catalogfile

import (
	"fmt"
	"os"
	"strings"
)

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
		}
	}
	return missing, nil
}
