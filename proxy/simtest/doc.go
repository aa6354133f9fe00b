// Package simtest runs several proxies' admission, leases, in-flight slots, journals
// and shipping against a model of Postgres, in one process, one step at a time. Time,
// the database's answers, the disk's faults and every kill are drawn from a seed. It
// stops proxies at each of the crash points K1 to K14 and asks of every end that no
// charge is lost, doubled or wrong and no money is left behind.
package simtest
