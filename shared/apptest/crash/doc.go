// Package crash proves that no end of a process loses or doubles a charge: real
// proxies and a real Postgres are killed amid real streams, and afterwards the mock
// provider's meter and the ledger are compared request by request.
//
// The tests are the package. RELAY_LONG=1 makes them longer: more kills, more load.
package crash
