// Command k6 is Grafana k6 with one module of ours, k6/x/sse, which reads the event
// streams of chat APIs. It is a Go module of its own: the relay links nothing of it.
package main

import (
	"go.k6.io/k6/cmd"

	_ "tokenrelay/loadtest/k6/sse"
)

func main() { cmd.Execute() }
