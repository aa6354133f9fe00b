// Package fleet proves what several proxies and admins on one Postgres promise
// together, with the real programs: changes are everywhere within a second, money is
// never spent twice, warm requests ask no database, and each refusal says what it is.
// It holds tests only.
package fleet
