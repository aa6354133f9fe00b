package catalogfile

import (
	_ "embed"

	"tokenrelay/shared/obs"
)

//go:embed default.yaml
var defaultYAML []byte

// DefaultYAML returns the shipped catalogue as it stands in the repository. The
// caller must not change it.
func DefaultYAML() []byte { return defaultYAML }

// Default returns a fresh copy of the shipped catalogue.
func Default() *File {
	f, err := Parse(defaultYAML)
	if err != nil {
		obs.Bug("the shipped catalogue cannot be read: %v", err)
	}
	return f
}
