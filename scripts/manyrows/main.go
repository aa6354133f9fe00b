// Command manyrows fills the database of a relay that is thrown away with usage that nobody
// has made, so that pages and reports can be measured over it: a customer of the relay has a
// third of the rows. RELAY_DATABASE_URL names it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"tokenrelay/shared/store/manyrows"
)

func main() {
	rows := flag.Int64("rows", 200_000, "how many rows of usage")
	client := flag.Int64("client", 1, "the id of the customer that has a third of them")
	slot := flag.Int("slot", 1, "the slot of the proxy that is said to have served")
	models := flag.String("models", "", "six priced models of the relay's catalogue that the calls are for, with commas between them")
	flag.Parse()
	o := manyrows.Options{Rows: *rows, Client: *client, Slot: int16(*slot), Models: strings.Split(*models, ","), Log: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	if err := manyrows.Fill(context.Background(), os.Getenv("RELAY_DATABASE_URL"), o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
