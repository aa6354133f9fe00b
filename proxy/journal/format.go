package journal

import (
	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/usage"
)

// The files' format is shared with those who read a journal without running it.
type (
	// Position is a place in the journal: everything before it has been read.
	Position = journalfile.Position
	// Ident is the identity of a data folder. It is made once and survives restarts.
	Ident = journalfile.Ident
	// DamageError names a byte of a file that is not what was written there. The proxy
	// does not start over it (exit 78): to go on would be to lose charges silently.
	DamageError = journalfile.DamageError
	// VersionError names a file written by a build with another format (exit 78).
	VersionError = journalfile.VersionError
)

// subdir holds all files of the journal inside the data folder, which others use too.
const subdir = journalfile.Subdir

// MaxRecord is the largest encoding AppendRecord makes, bytes.
const MaxRecord = journalfile.MaxRecord

// AppendRecord appends the encoding of rec to dst: a version byte, then the fields
// as varints, strings last. It does not allocate if dst has MaxRecord bytes to spare.
func AppendRecord(dst []byte, rec *usage.Record) []byte { return journalfile.AppendRecord(dst, rec) }

// DecodeRecord reads what AppendRecord wrote, all of b, into rec. Strings are
// copied; b is not kept.
func DecodeRecord(b []byte, rec *usage.Record) error { return journalfile.DecodeRecord(b, rec) }
