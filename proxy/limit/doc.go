// Package limit shares limits between proxies: requests per minute of an address, a
// key, a group; tokens per minute; running requests; what a day may cost.
//
// A proxy that is alone counts by itself and asks nobody. Where there are several,
// each takes parts of a limit from Postgres and uses them up with one atomic step per
// request; what all parts of a minute add up to never passes the limit. A part is good
// for the minute (by the clock of Postgres) that it was taken in, and ends here no later
// than there, because its life is counted from before the question was sent. A request
// that finds its part used up waits for one question, which serves all that wait, for
// this limit and any other; a refusal is remembered for up to a second. So the number
// of statements does not grow with requests nor with limits.
//
// Without Postgres a proxy uses up what it has, and then counts by itself again, up to
// the limit divided by the number of proxies that were alive last.
//
// Daily limits are stops, not fences: each proxy tells every half second what it has
// spent and reads what the others have.
//
// # Locks
//
// Exchange.turn before Exchange.mu and days.mu. turn is held by whoever asks Postgres,
// delivers, and lowers places; mu guards the table of limits and the queue. No request
// waits for turn, and mu is not held over a call.
package limit
