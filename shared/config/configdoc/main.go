// Command configdoc writes the reference page of the settings to the path it is
// given.
package main

import (
	"log/slog"
	"os"

	"tokenrelay/shared/config"
)

func main() {
	if len(os.Args) != 2 {
		slog.Error("want one argument: the path of the page")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], []byte(config.Markdown()), 0o644); err != nil {
		slog.Error("cannot write the settings page", "error", err)
		os.Exit(1)
	}
}
