package journal

import (
	"errors"
	"fmt"
)

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

var (
	// ErrInUse says that another process holds the data folder.
	ErrInUse = errors.New("data folder is in use by another process")
	// ErrDead says that the disk failed under the journal; it takes nothing any more.
	ErrDead = errors.New("journal is dead")
	// ErrFull says that there is no disk space for another segment.
	ErrFull = errors.New("journal has no disk space")
	// ErrClosed says that the journal was closed.
	ErrClosed = errors.New("journal is closed")
)
