// Package reqid makes and reads request ids: ULIDs, shown as "req_" and 26
// characters of Crockford base32. The first 48 bits are milliseconds since 1970,
// so ids sort by time and name the month of their usage partition.
package reqid

// ID is a request id: 48 bits of unix milliseconds, big endian, and 80 random bits.
type ID [16]byte
