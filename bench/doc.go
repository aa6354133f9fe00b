// Package bench measures the whole path of a request through a proxy, over loopback,
// against a proxy that does nothing but forward: allocations as a test, times as
// benchmarks. Times are of one shared machine: compare them within a run only.
package bench
