package journalfile

import "fmt"

// DamageError names a byte of a file that is not what was written there. The proxy
// does not start over it (exit 78): to go on would be to lose charges silently.
type DamageError struct {
	File   string
	Offset int64
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("journal damaged: %s at offset %d: %s", e.File, e.Offset, e.Reason)
}

// VersionError names a file written by a build with another format (exit 78).
type VersionError struct {
	File    string
	What    string // "segment", "record", "record type", "flights"
	Version int
	Known   int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s: %s version %d is not known to this build (it reads %d)", e.File, e.What, e.Version, e.Known)
}
