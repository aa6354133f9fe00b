// Package failpoint names the crash points of a proxy and, in a build with the tag
// failpoint, kills the process at one of them. In any other build Hit is nothing.
package failpoint

// Point is a crash point of a proxy.
type Point uint8

// The points, in the order in which a request and then its money meet them. A lease
// that was closed as lost before its journal appeared (K14) is no point of a process.
const (
	K1  Point = iota + 1 // the money is taken, no in-flight slot is written
	K2                   // the slot is written, nothing is sent
	K3                   // the request is with the upstream, which has not answered
	K4                   // output is noted in the slot, the client has not got it
	K5                   // the usage is known, the record is not written
	K6                   // the record is written, the client has not got the end
	K7                   // the client has the end
	K8                   // the record is on the disk, not in Postgres
	K9                   // the records are in Postgres, which is not acknowledged
	K10                  // acknowledged, the segments are not removed
	K11                  // money is granted, the proxy does not know
	K12                  // money is out of the lease, Postgres has not got it back
	K13                  // it has, the proxy does not know
)
